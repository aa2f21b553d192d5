# SPDX-License-Identifier: Apache-2.0
"""Rebuild a graph and its metadata from a mapping of vertices, and record what was rewritten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from enum import Enum

from llbkit.grammar import Span
from llbkit.llb.builder.options import CUSTOM_NAME
from llbkit.llb.ir.graph import Edge, Graph, Metadata, Vertex, merge_metadata
from llbkit.llb.ir.ops import Op
from llbkit.llb.ir.sourcemap import Location, SourceMap
from llbkit.llb.ir.walk import postorder
from llbkit.llb.tools.names import name_of
from llbkit.records import dataclass


class Seen(Enum):
    """What a user can see of a result: only its files, or the layers they lie in as well."""

    FILES = "files"
    LAYERS = "layers"


@dataclass(frozen=True, slots=True, eq=False)
class Note:
    """One thing that a pass did: to which vertex of the graph before it, and in words why that makes no difference."""

    graph: Graph = field(repr=False)
    vertex: Vertex
    why: str

    @property
    def step(self) -> str:
        """The vertex's name as users see it."""
        return title(self.graph, self.vertex)


@dataclass(frozen=True, slots=True)
class Part:
    """One action of a fused file op: the name and the source lines of the step that it comes from."""

    name: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """What a pass, or all of them, made of a graph.

    ``moved`` maps the digests of vertices that have a successor in the new graph to the successor's; vertices that are gone
    without one are missing. ``hits`` counts by pass how often it applied, ``notes`` say where. ``parts`` holds, by digest,
    what each action of a fused file op comes from.
    """

    graph: Graph
    moved: Mapping[str, str] = field(default_factory=dict)
    hits: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    parts: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)


def unchanged(graph: Graph) -> Rewritten:
    """Return the very same graph."""
    return Rewritten(graph=graph)


def title(graph: Graph, vertex: Vertex) -> str:
    """Return the name of a vertex as users see it; unnamed ones below it are named without what lies below them."""
    below = [name_of(edge.vertex, graph.metadata_of(edge.vertex.digest)) for edge in vertex.inputs]
    return name_of(vertex, graph.metadata_of(vertex.digest), below)


def reachable(head: Edge | None) -> list[Vertex]:
    """Return what an edge reaches, inputs before users."""
    if head is None:
        return []
    return postorder([head.vertex], lambda vertex: [edge.vertex for edge in vertex.inputs])


def rebuild(
    graph: Graph,
    head: Edge | None,
    successors: Mapping[Vertex, Vertex],
    names: Mapping[str, str] | None = None,
) -> Graph:
    """Return the graph of a new head. ``successors`` says which vertex takes over another's names and source lines.

    Two vertices that become one merge their metadata as two jobs' would, and keep the lines of both; ``names`` says by
    digest how such a one is called. Vertices keep the order of the graph as far as inputs allow.
    """
    kept = {vertex.digest for vertex in reachable(head)}
    metadata: dict[str, Metadata] = {}
    locations: dict[str, tuple[Location, ...]] = {}
    vertices: dict[str, Vertex] = {}
    for old in graph.vertices:
        new = successors.get(old, old)
        digest = new.digest
        if digest not in kept:
            continue
        vertices.setdefault(digest, new)
        if old.digest in graph.metadata:
            own = graph.metadata[old.digest]
            metadata[digest] = merge_metadata(metadata[digest], own) if digest in metadata else own
        if old.digest in graph.source_map.locations:
            locations[digest] = (*locations.get(digest, ()), *graph.source_map.locations[old.digest])
    for digest, name in (names or {}).items():
        known = metadata.get(digest, Metadata())
        metadata[digest] = replace(known, description={**known.description, CUSTOM_NAME: name})
    source_map = SourceMap(infos=graph.source_map.infos, locations=locations)
    order = tuple(vertices.values()) if _ordered(vertices, kept) else tuple(reachable(head))
    return replace(graph, vertices=order, head=head, metadata=metadata, source_map=source_map)


def _ordered(vertices: Mapping[str, Vertex], kept: set[str]) -> bool:
    """Whether these are all that is kept, inputs before users."""
    done: set[str] = set()
    for digest, vertex in vertices.items():
        if any(edge.vertex.digest not in done for edge in vertex.inputs):
            return False
        done.add(digest)
    return len(done) == len(kept)


class Rewrite:
    """One run of a pass over a graph, inputs before users: what each vertex has become, and what was done to it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.became: dict[Vertex, Vertex] = {}
        self.notes: list[Note] = []

    def edge(self, edge: Edge) -> Edge:
        """Return what an edge has become."""
        new = self.became.get(edge.vertex)
        return edge if new is None else Edge(new, edge.index)

    def inputs(self, vertex: Vertex) -> list[Edge]:
        """Return what a vertex's inputs have become."""
        return [self.edge(edge) for edge in vertex.inputs]

    def put(self, vertex: Vertex, op: Op, inputs: Sequence[Edge], *notes: str) -> bool:
        """Put an op with inputs in a vertex's place; return whether that was possible, see `with_inputs`."""
        new = with_inputs(vertex, op, inputs)
        if new is None:
            return False
        self.became[vertex] = new
        self.notes += [Note(self.graph, vertex, note) for note in notes]
        return True

    def follow(self, vertex: Vertex) -> None:
        """Hand what the inputs have become on to a vertex to which nothing else is done."""
        if self.became and any(edge.vertex in self.became for edge in vertex.inputs):
            self.put(vertex, vertex.op, self.inputs(vertex))

    def done(self, name: str) -> Rewritten:
        """Return the outcome; the very same graph if nothing was done."""
        graph = self.graph
        if graph.head is None or not self.notes:
            return unchanged(graph)
        rebuilt = rebuild(graph, self.edge(graph.head), self.became)
        moved = {old.digest: new.digest for old, new in self.became.items()}
        return Rewritten(graph=rebuilt, moved=moved, hits={name: len(self.notes)}, notes=tuple(self.notes))


def with_inputs(vertex: Vertex, op: Op, inputs: Sequence[Edge]) -> Vertex | None:
    """Return a vertex with another op of the same kind and other inputs.

    None if the vertex holds wire fields that this version does not know: they would be lost.
    """
    if not understood(vertex):
        return None
    assert type(op) is type(vertex.op), "a rewrite must not change the kind of op"
    return Vertex.make(op, tuple(inputs), platform=vertex.platform, constraints=vertex.constraints)


def understood(vertex: Vertex) -> bool:
    """Whether a vertex holds no wire fields but those that this version knows."""
    again = Vertex.make(vertex.op, vertex.inputs, platform=vertex.platform, constraints=vertex.constraints)
    return again.digest == vertex.digest
