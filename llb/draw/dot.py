# SPDX-License-Identifier: Apache-2.0
"""Graphs for Graphviz."""

from __future__ import annotations

from collections.abc import Iterable

from llbkit.llb.draw.picture import Box, Outcome, picture, seconds
from llbkit.llb.ir.graph import Graph
from llbkit.llb.tools.names import seen

_SHAPES = {"source": "ellipse", "exec": "box", "file": "note", "merge": "invtriangle", "diff": "triangle"}
_FILLS = {
    "ran": "#dbeafe",
    "cached": "#dcfce7",
    "failed": "#fecaca",
    "canceled": "#fde68a",
    "pruned": "#f3f4f6",
}


def render(graph: Graph, outcomes: Iterable[Outcome] | None = None) -> str:
    """Return a graph in the DOT language, each stage a cluster; ``outcomes`` colour the vertices."""
    drawn = picture(graph, outcomes)
    lines = ["digraph llb {", "  rankdir=LR;", '  node [fontname="sans-serif"];']
    staged = set()
    for place, (stage, numbers) in enumerate(drawn.stages().items()):
        lines += [f"  subgraph cluster_{place} {{", f"    label={_quoted(stage)};"]
        lines += [f"    {_node(number, drawn.boxes[number])}" for number in numbers]
        lines.append("  }")
        staged.update(numbers)
    lines += [f"  {_node(number, box)}" for number, box in enumerate(drawn.boxes) if number not in staged]
    for arrow in drawn.arrows:
        index = f" [label={_quoted(str(arrow.output))}]" if arrow.output else ""
        lines.append(f"  n{arrow.source} -> n{arrow.target}{index};")
    if drawn.head is not None:
        lines += ['  head [label="" shape=doublecircle width=0.2];', f"  n{drawn.head} -> head;"]
    return "\n".join([*lines, "}"]) + "\n"


def _node(number: int, box: Box) -> str:
    label = f"{box.title}\n{seconds(box.seconds)}" if box.result in ("ran", "failed") else box.title
    fill = f' style=filled fillcolor="{_FILLS[box.result]}"' if box.result else ""
    tooltip = _quoted("\n".join(box.details))
    return f"n{number} [label={_quoted(label)} shape={_SHAPES.get(box.kind, 'diamond')}{fill} tooltip={tooltip}];"


def _quoted(text: str) -> str:
    return '"' + seen(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
