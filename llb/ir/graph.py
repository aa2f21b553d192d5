# SPDX-License-Identifier: Apache-2.0
"""Vertices, edges and graphs: ops with their inputs, digested.

A vertex's identity is the digest of its wire bytes; equality and hash use nothing else. What cannot change the
result (names, source spans, caps, progress groups) is `Metadata`, kept in a table beside the graph.

Graphs are deeper than the stack. So nothing here is compared, shown, copied or pickled member by member: a pickled graph
is its definition, and so is a vertex, with all it stands on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Annotated

from llbkit.grammar import Span
from llbkit.llb.errors import unencodable
from llbkit.llb.ir.fields import Head, Wire
from llbkit.llb.ir.ops import Op, Platform
from llbkit.llb.ir.sourcemap import SourceMap
from llbkit.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressGroup:
    """Vertices shown as one line; a ``weak`` member alone does not show the group."""

    id: Annotated[str, Wire(1), Head()]
    name: Annotated[str, Wire(2)] = ""
    weak: Annotated[bool, Wire(3)] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LinuxResources:
    """Limits of one exec that do not take part in its cache key (bytes, microseconds, cpuset lists)."""

    memory: Annotated[int, Wire(1)] = 0
    memory_swap: Annotated[int, Wire(2, "memorySwap")] = 0
    cpu_shares: Annotated[int, Wire(3, "cpuShares", "uint64")] = 0
    cpu_period: Annotated[int, Wire(4, "cpuPeriod", "uint64")] = 0
    cpu_quota: Annotated[int, Wire(5, "cpuQuota")] = 0
    cpuset_cpus: Annotated[str, Wire(6, "cpusetCpus")] = ""
    cpuset_mems: Annotated[str, Wire(7, "cpusetMems")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What is known about a vertex besides its op. ``export_cache`` None means unset; ``caps`` is sorted.

    ``unknown`` are wire fields of later versions, kept as they came.
    """

    ignore_cache: bool = False
    description: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    export_cache: bool | None = None
    caps: tuple[str, ...] = ()
    progress_group: ProgressGroup | None = None
    linux_resources: LinuxResources | None = None
    unknown: bytes = b""


NO_METADATA = Metadata()


def merge_metadata(first: Metadata, second: Metadata) -> Metadata:
    """Return the metadata of two vertices that became one.

    The second's words win (name, group, limits, cache export); what forbids or demands is united (ignored cache, caps).
    """
    return Metadata(
        ignore_cache=first.ignore_cache or second.ignore_cache,
        description={**first.description, **second.description},
        export_cache=first.export_cache if second.export_cache is None else second.export_cache,
        caps=tuple(sorted({*first.caps, *second.caps})),
        progress_group=second.progress_group or first.progress_group,
        linux_resources=second.linux_resources or first.linux_resources,
        unknown=second.unknown or first.unknown,
    )


@dataclass(frozen=True, slots=True)
class Edge:
    """Output ``index`` of a vertex."""

    vertex: Vertex
    index: int = 0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Vertex:
    """An op with its inputs. ``raw`` is the exact wire message, ``digest`` its ``sha256:...``.

    The inputs are left out of ``repr``: a graph may be deeper than the stack, and shared inputs would be repeated.
    ``platform`` None and an empty ``constraints`` are what the wire leaves out.
    """

    op: Op
    inputs: tuple[Edge, ...] = field(repr=False)
    digest: str
    raw: bytes = field(repr=False)
    platform: Platform | None = None
    constraints: tuple[str, ...] = ()

    @classmethod
    def make(
        cls,
        op: Op,
        inputs: tuple[Edge, ...] = (),
        *,
        platform: Platform | None = None,
        constraints: tuple[str, ...] | None = (),
    ) -> Vertex:
        """Return the vertex of an op: encoded, and digested from its wire bytes.

        Raises:
            DefinitionError: a text of the op is not UTF-8.
        """
        from llbkit.llb.wire.encoding import encode_op

        try:
            raw = encode_op(op, [(edge.vertex.digest, edge.index) for edge in inputs], platform, constraints)
        except ValueError as error:
            raise unencodable(error) from None
        digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        return cls(
            op=op, inputs=inputs, digest=digest, raw=raw, platform=platform, constraints=constraints or ()
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vertex) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __copy__(self) -> Vertex:
        return self

    def __deepcopy__(self, memo: object) -> Vertex:
        return self

    def __reduce__(self) -> tuple[Callable[[bytes], Vertex], tuple[bytes]]:
        return _unpickled_vertex, (_definition(self),)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Graph:
    """A verified set of vertices with one wanted result.

    ``vertices`` are in the order of the wire's ``Definition.def`` (inputs before users; the terminal pointer op is
    not a vertex). ``head`` is None for scratch. ``metadata`` and ``source_map`` are keyed by vertex digest.
    ``terminal`` is the metadata of the wire's pointer op: the caps that the definition as a whole needs. ``unknown`` are
    wire fields of later versions. A decoded graph also remembers the very bytes it came from; a changed copy does not.
    """

    vertices: tuple[Vertex, ...]
    head: Edge | None
    metadata: Mapping[str, Metadata] = field(default_factory=lambda: MappingProxyType({}))
    source_map: SourceMap = field(default_factory=SourceMap)
    terminal: Metadata = NO_METADATA
    unknown: bytes = b""
    _wire: bytes | None = field(default=None, init=False, repr=False)

    @property
    def wire(self) -> bytes | None:
        """The exact definition that this graph was decoded from; None if it was built or rewritten."""
        return self._wire

    def remember(self, wire: bytes) -> None:
        """Keep the definition that this graph was decoded from: for the decoder only."""
        object.__setattr__(self, "_wire", wire)

    @property
    def summary(self) -> str:
        """One line: how many vertices, the name of the wanted one, its digest shortened."""
        from llbkit.llb.tools.names import name_of

        if self.head is None:
            return "scratch"
        vertex = self.head.vertex
        count = f"{len(self)} {'vertex' if len(self) == 1 else 'vertices'}"
        name = " ".join(name_of(vertex, self.metadata_of(vertex.digest)).split())
        name = name if len(name) <= 60 else f"{name[:59]}…"
        return f"{count}, {vertex.digest.removeprefix('sha256:')[:12]} {name}"

    def __repr__(self) -> str:
        return f"<Graph {self.summary}>"

    def _repr_svg_(self) -> str:
        """Draw the graph: what a notebook shows."""
        from llbkit.llb.draw import svg

        return svg.render(self)

    def __copy__(self) -> Graph:
        return self

    def __deepcopy__(self, memo: object) -> Graph:
        return self

    def __reduce__(self) -> tuple[Callable[[bytes], Graph], tuple[bytes]]:
        from llbkit.llb.wire.encoding import encode

        return _unpickled, (encode(self),)

    def spans_of(self, digest: str) -> tuple[Span, ...]:
        """Return the spans a vertex comes from, the most telling first."""
        return self.source_map.spans(digest)

    def metadata_of(self, digest: str) -> Metadata:
        """Return a vertex's metadata; empty if there is none."""
        return self.metadata.get(digest, NO_METADATA)

    def __iter__(self) -> Iterator[Vertex]:
        return iter(self.vertices)

    def __len__(self) -> int:
        return len(self.vertices)


def _definition(vertex: Vertex) -> bytes:
    from llbkit.llb.ir.walk import postorder
    from llbkit.llb.wire.encoding import encode

    below = postorder([vertex], lambda user: [edge.vertex for edge in user.inputs])
    return encode(Graph(vertices=tuple(below), head=Edge(vertex)))


def _unpickled(definition: bytes) -> Graph:
    from llbkit.llb.wire.decoding import decode

    return decode(definition)


def _unpickled_vertex(definition: bytes) -> Vertex:
    head = _unpickled(definition).head
    assert head is not None, "made of a vertex"
    return head.vertex
