# SPDX-License-Identifier: Apache-2.0
"""Drop vertices that the head does not reach."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from llbkit.llb.ir.graph import Graph
from llbkit.records import dataclass
from llbkit.solver.passes.rewrite import Note, Rewritten, reachable, unchanged


@dataclass(frozen=True, slots=True)
class Prune:
    """Keep what the head reaches, in the same order.

    Before: ``a; b; c(a)`` with head ``c``. After: ``a; c(a)``. Results are equal because a vertex's result is a function
    of its own op and its inputs only. The tables beside the graph stay as they are: entries without a vertex are no harm.
    """

    name: ClassVar[str] = "prune"

    def run(self, graph: Graph) -> Rewritten:
        """Return the graph without what is not reached."""
        wanted = set(reachable(graph.head))
        if len(wanted) == len(graph.vertices):
            return unchanged(graph)
        kept = tuple(vertex for vertex in graph.vertices if vertex in wanted)
        notes = tuple(
            Note(graph, vertex, "unreachable from the result")
            for vertex in graph.vertices
            if vertex not in wanted
        )
        if not notes:
            return unchanged(graph)
        return Rewritten(graph=replace(graph, vertices=kept), hits={self.name: len(notes)}, notes=notes)
