# SPDX-License-Identifier: Apache-2.0
"""Steps of a state before the platform is known: each knows the outputs it reads, and how to become a vertex.

`assemble` walks the nodes below a state, inputs first, in the order in which BuildKit's client visits them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from types import MappingProxyType
from typing import Protocol

from llbkit.llb.builder.options import At, Constraints, SourceText
from llbkit.llb.errors import StateError
from llbkit.llb.ids import new_id
from llbkit.llb.ir import platform as platforms
from llbkit.llb.ir.graph import NO_METADATA, Edge, Graph, Metadata, Vertex, merge_metadata
from llbkit.llb.ir.ops import Op, Platform
from llbkit.llb.ir.sourcemap import Location, SourceInfo, SourceMap
from llbkit.llb.ir.verify import verify
from llbkit.llb.ir.walk import no_garbage, postorder
from llbkit.records import dataclass


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a node: ``slot`` is its index, or the target of a mount.

    The node is left out of ``repr``: a chain of steps may be longer than the stack.
    """

    node: Node = field(repr=False)
    slot: int | str = 0


class Node(Protocol):
    """A step. Nodes are compared by identity."""

    @property
    def constraints(self) -> Constraints:
        """What the step was given besides its own arguments."""

    @property
    def fixed_platform(self) -> Platform | None:
        """The platform that states take over with an output of this step; None leaves them theirs."""

    def reads(self, base: Base) -> Sequence[Output]:
        """Return the outputs it reads, in visiting order."""

    def index_of(self, slot: int | str) -> int:
        """Return the output index of a slot. Raises StateError if the slot is not an output."""

    def make(self, base: Base, edge: Callable[[Output], Edge]) -> VertexSpec:
        """Return what the step is for a platform; ``edge`` turns outputs it reads into edges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The arguments of `State.graph`. ``caps`` None: the receiver's capabilities are not asked about."""

    constraints: Constraints = field(default_factory=Constraints)
    caps: frozenset[str] | None = None
    unique: str = ""

    @property
    def platform(self) -> Platform:
        """The platform of steps that do not have one of their own."""
        return self.constraints.platform or platforms.default()


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexSpec:
    """A step for a platform: the op, its edges, the caps it needs. ``platform`` None: not specific to one.

    ``vertex`` is set by steps that were decoded and keep their bytes.
    """

    op: Op | None = None
    inputs: tuple[Edge, ...] = ()
    caps: tuple[str, ...] = ()
    platform: Platform | None = None
    vertex: Vertex | None = None
    metadata: Metadata | None = None
    locations: tuple[At, ...] = ()


class EdgeList:
    """The inputs of a vertex under construction, equal ones once."""

    def __init__(self, edge: Callable[[Output], Edge]) -> None:
        self._edge = edge
        self._found: dict[tuple[str, int], int] = {}
        self.edges: list[Edge] = []

    def add(self, output: Output) -> int:
        """Return the input number of an output."""
        edge = self._edge(output)
        key = (edge.vertex.digest, edge.index)
        if key not in self._found:
            self._found[key] = len(self.edges)
            self.edges.append(edge)
        return self._found[key]


def unique_outputs(outputs: Sequence[Output]) -> list[Output]:
    """Return outputs without repetition, in order of first use."""
    return list(dict.fromkeys(outputs))


def assemble(head: Output | None, base: Base) -> Graph:
    """Return the graph of an output; None is scratch.

    Raises:
        StateError: a step makes no sense.
        DefinitionError: the graph breaks a rule of `llbkit.llb.ir.verify`.
    """
    if head is None:
        return Graph(vertices=(), head=None)
    with no_garbage():
        return _assemble(head, base)


def _assemble(head: Output, base: Base) -> Graph:
    base = Base(constraints=base.constraints, caps=base.caps, unique=base.unique or new_id())
    order = postorder([head.node], lambda node: [output.node for output in node.reads(base)])
    made: dict[Node, Vertex] = {}
    vertices: dict[str, Vertex] = {}
    metadata: dict[str, Metadata] = {}
    texts = _Texts(base)

    def edge(output: Output) -> Edge:
        return Edge(made[output.node], output.node.index_of(output.slot))

    for node in order:
        result = node.make(base, edge)
        vertex = result.vertex or _vertex(node.constraints, result, base)
        made[node] = vertex
        vertices.setdefault(vertex.digest, vertex)
        known = result.metadata if result.metadata is not None else _metadata(node.constraints, result, base)
        earlier = metadata.get(vertex.digest)
        metadata[vertex.digest] = merge_metadata(earlier, known) if earlier is not None else known
        texts.add(vertex.digest, (*node.constraints.at, *result.locations))
    graph = Graph(
        vertices=tuple(vertices.values()),
        head=edge(head),
        metadata=MappingProxyType(metadata),
        source_map=texts.source_map(),
        terminal=Metadata(caps=_terminal_caps(metadata)),
    )
    verify(graph)
    return graph


def _vertex(constraints: Constraints, result: VertexSpec, base: Base) -> Vertex:
    assert result.op is not None, "only decoded vertices lack an op"
    require = (*base.constraints.require, *constraints.require)
    return Vertex.make(result.op, result.inputs, platform=result.platform, constraints=require)


def _metadata(constraints: Constraints, result: VertexSpec, base: Base) -> Metadata:
    merged = constraints.metadata
    if base.constraints.metadata != NO_METADATA:
        merged = merge_metadata(base.constraints.metadata, merged)
    return replace(merged, caps=tuple(sorted({*merged.caps, *result.caps})))


def _terminal_caps(metadata: Mapping[str, Metadata]) -> tuple[str, ...]:
    caps = {"constraints", "platform"}
    for item in metadata.values():
        if item.ignore_cache:
            caps.add("meta.ignorecache")
        if item.description:
            caps.add("meta.description")
        if item.export_cache is not None:
            caps.add("meta.exportcache")
    return tuple(sorted(caps))


class _Texts:
    """Collects the texts that steps point into, each once."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._numbers: dict[SourceText, int] = {}
        self._infos: list[SourceInfo] = []
        self._locations: dict[str, tuple[Location, ...]] = {}

    def add(self, digest: str, places: Sequence[At]) -> None:
        found = tuple(Location(self._number(place.text), place.lines, place.columns) for place in places)
        self._locations[digest] = (*self._locations.get(digest, ()), *found)

    def _number(self, text: SourceText) -> int:
        if text not in self._numbers:
            definition = text.definition
            if text.state is not None:
                from llbkit.llb.wire import encode

                definition = encode(assemble(text.state.output, self._base))
            info = SourceInfo(source=text.source, definition=definition)
            for number, other in enumerate(self._infos):
                if _same(info, other):
                    self._numbers[text] = number
                    break
            else:
                self._numbers[text] = len(self._infos)
                self._infos.append(info)
        return self._numbers[text]

    def source_map(self) -> SourceMap:
        return SourceMap(infos=tuple(self._infos), locations=MappingProxyType(self._locations))


def _same(one: SourceInfo, other: SourceInfo) -> bool:
    return (
        one.source.name == other.source.name
        and one.source.language == other.source.language
        and one.definition == other.definition
        and one.source.text == other.source.text
    )


class GraphNode:
    """A vertex of a finished graph as a step of a new one; it keeps its bytes, metadata and locations."""

    def __init__(
        self, graph: Graph, vertex: Vertex, known: dict[str, GraphNode], texts: Sequence[SourceText]
    ) -> None:
        self._graph = graph
        self._texts = texts
        self._vertex = vertex
        self._known = known
        self.constraints = Constraints()

    @classmethod
    def head(cls, graph: Graph) -> Output | None:
        """Return the output that a graph's head names."""
        if graph.head is None:
            return None
        known: dict[str, GraphNode] = {}
        texts = [SourceText(info.source, definition=info.definition) for info in graph.source_map.infos]
        for vertex in graph.vertices:
            known[vertex.digest] = cls(graph, vertex, known, texts)
        return Output(known[graph.head.vertex.digest], graph.head.index)

    @property
    def fixed_platform(self) -> Platform | None:
        """The platform of the vertex."""
        return self._vertex.platform

    def reads(self, base: Base) -> Sequence[Output]:
        """Return the outputs of the vertex's inputs."""
        return [Output(self._known[edge.vertex.digest], edge.index) for edge in self._vertex.inputs]

    def index_of(self, slot: int | str) -> int:
        """Slots of a decoded vertex are indexes."""
        if not isinstance(slot, int):
            raise StateError(f"a decoded step has no output named {slot}")
        return slot

    def make(self, base: Base, edge: Callable[[Output], Edge]) -> VertexSpec:
        """Return the vertex as it is."""
        locations = self._graph.source_map.locations.get(self._vertex.digest, ())
        places = tuple(At(self._texts[item.info], item.lines, item.columns) for item in locations)
        return VertexSpec(
            vertex=self._vertex, metadata=self._graph.metadata_of(self._vertex.digest), locations=places
        )
