# SPDX-License-Identifier: Apache-2.0
"""Merge equivalent vertices."""

from __future__ import annotations

from typing import ClassVar

from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Graph, Vertex
from llbkit.records import dataclass
from llbkit.solver.passes.rewrite import Note, Rewrite, Rewritten, rebuild

_CLIENT_ONLY = ("local.unique", "local.sharedkeyhint")


@dataclass(frozen=True, slots=True)
class Dedupe:
    """Read a local directory once, and list every vertex once.

    Before: ``a = local(src) {local.unique=1}; b = local(src) {local.unique=2}; copy(a); copy(b)``.
    After: ``a = local(src) {local.unique=1}; copy(a); copy(a)``.

    Results are equal because ``local.unique`` and ``local.sharedkeyhint`` name no files: the first tells apart the
    directories of different clients, and a graph is solved for one; the second is a hint about transfers. The session, the
    name and every filter have to be the same. Users are found in the cache as before, for a local directory has no key
    but its content. A vertex that is listed twice has one digest, so it is one result already.
    """

    name: ClassVar[str] = "dedupe"

    def run(self, graph: Graph) -> Rewritten:
        """Return the graph without twins."""
        work = Rewrite(graph)
        first: dict[object, Vertex] = {}
        listed: set[Vertex] = set()
        twice: list[Vertex] = []
        for vertex in graph.vertices:
            if vertex in listed:
                twice.append(vertex)
                continue
            listed.add(vertex)
            key = _meaning(vertex)
            if key is None:
                work.follow(vertex)
            elif (twin := first.setdefault(key, vertex)) is not vertex:
                work.became[vertex] = twin
                work.notes.append(
                    Note(graph, vertex, "duplicate of a source with the same directory and filters")
                )
        if not twice:
            return work.done(self.name)
        work.notes += [Note(graph, vertex, "duplicate vertex") for vertex in twice]
        if graph.head is None:
            return Rewritten(
                graph=rebuild(graph, None, {}), hits={self.name: len(twice)}, notes=tuple(work.notes)
            )
        return work.done(self.name)


def _meaning(vertex: Vertex) -> object:
    """Return what a local source has in common with those that read the same; None for all else."""
    op = vertex.op
    if not isinstance(op, ops.Source) or not op.identifier.startswith("local://"):
        return None
    attrs = frozenset((key, value) for key, value in op.attrs.items() if key not in _CLIENT_ONLY)
    rest = len(vertex.raw) if _has_more(vertex) else 0
    return (op.identifier, attrs, vertex.constraints, rest and vertex.digest)


def _has_more(vertex: Vertex) -> bool:
    from llbkit.solver.passes.rewrite import understood

    return not understood(vertex)
