# SPDX-License-Identifier: Apache-2.0
"""Graphs for Graphviz."""

from __future__ import annotations

from llb import ops
from llb.graph import Graph, Vertex

_SHAPES = {
    ops.Source: "ellipse",
    ops.Exec: "box",
    ops.File: "note",
    ops.Merge: "invtriangle",
    ops.Diff: "triangle",
}


def render(graph: Graph) -> str:
    """Return a graph in the DOT language."""
    numbers = {vertex.digest: number for number, vertex in enumerate(graph.vertices)}
    lines = ["digraph llb {", "  rankdir=LR;", '  node [fontname="sans-serif"];']
    for vertex in graph.vertices:
        shape = _SHAPES.get(type(vertex.op), "diamond")
        label = _quoted(_label(graph, vertex))
        lines.append(
            f"  n{numbers[vertex.digest]} [label={label} shape={shape} tooltip={_quoted(vertex.digest)}];"
        )
        for edge in vertex.inputs:
            index = f" [label={_quoted(str(edge.index))}]" if edge.index else ""
            lines.append(f"  n{numbers[edge.vertex.digest]} -> n{numbers[vertex.digest]}{index};")
    if graph.head is not None:
        lines += [
            '  head [label="" shape=doublecircle width=0.2];',
            f"  n{numbers[graph.head.vertex.digest]} -> head;",
        ]
    return "\n".join([*lines, "}"]) + "\n"


def _label(graph: Graph, vertex: Vertex) -> str:
    name = graph.metadata_of(vertex.digest).description.get("llb.customname", "")
    if name:
        return name
    match vertex.op:
        case ops.Source():
            return vertex.op.identifier
        case ops.Exec():
            return " ".join(vertex.op.meta.args)
        case _:
            return type(vertex.op).__name__.lower()


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
