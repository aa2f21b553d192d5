# SPDX-License-Identifier: Apache-2.0
"""Rebuilding a graph from a mapping of edges, with the tables beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from llb.graph import Edge, Graph, Metadata, Vertex, merge_metadata
from llb.ops import Op
from llb.sourcemap import Location, SourceMap
from llb.walk import postorder


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """What a pass, or all of them, made of a graph.

    ``moved`` maps the digests of vertices that have a successor in the new graph to the successor's; vertices that are gone
    without one are missing. ``hits`` counts by pass how many vertices it took out.
    """

    graph: Graph
    moved: Mapping[str, str] = field(default_factory=dict)
    hits: Mapping[str, int] = field(default_factory=dict)


def unchanged(graph: Graph) -> Rewritten:
    """Return the very same graph."""
    return Rewritten(graph=graph)


def reachable(head: Edge | None) -> list[Vertex]:
    """Return what an edge reaches, inputs before users."""
    if head is None:
        return []
    return postorder([head.vertex], lambda vertex: [edge.vertex for edge in vertex.inputs])


def rebuild(graph: Graph, head: Edge | None, successors: Mapping[Vertex, Vertex]) -> Graph:
    """Return the graph of a new head. ``successors`` says which vertex takes over another's names and source lines.

    Two vertices that become one merge their metadata as two jobs' would, and keep the lines of both.
    """
    vertices = reachable(head)
    kept = {vertex.digest for vertex in vertices}
    metadata: dict[str, Metadata] = {}
    locations: dict[str, tuple[Location, ...]] = {}
    for old in graph.vertices:
        digest = successors.get(old, old).digest
        if digest not in kept:
            continue
        if old.digest in graph.metadata:
            own = graph.metadata[old.digest]
            metadata[digest] = merge_metadata(metadata[digest], own) if digest in metadata else own
        if old.digest in graph.source_map.locations:
            locations[digest] = (*locations.get(digest, ()), *graph.source_map.locations[old.digest])
    source_map = SourceMap(infos=graph.source_map.infos, locations=locations)
    return replace(graph, vertices=tuple(vertices), head=head, metadata=metadata, source_map=source_map)


def with_inputs(vertex: Vertex, op: Op, inputs: Sequence[Edge]) -> Vertex | None:
    """Return a vertex with another op of the same kind and other inputs.

    None if the vertex holds wire fields that this version does not know: they would be lost.
    """
    if not _understood(vertex):
        return None
    assert type(op) is type(vertex.op), "a rewrite keeps the kind of op"
    return Vertex.make(op, tuple(inputs), platform=vertex.platform, constraints=vertex.constraints)


def _understood(vertex: Vertex) -> bool:
    again = Vertex.make(vertex.op, vertex.inputs, platform=vertex.platform, constraints=vertex.constraints)
    return again.digest == vertex.digest
