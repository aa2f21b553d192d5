# SPDX-License-Identifier: Apache-2.0
"""List sources first."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Graph
from llbkit.records import dataclass
from llbkit.solver.passes.rewrite import Note, Rewritten, unchanged


@dataclass(frozen=True, slots=True)
class Hoist:
    """Move sources to the front, each in the order in which it is needed.

    Before: ``a = image; b = run(a); c = image; d = copy(b, c)``. After: ``a = image; c = image; b = run(a); d = copy(b, c)``.

    The solver asks for keys in the order of the graph, so the questions to registries and git servers are under way before
    the first key of a long graph has been computed, and are asked in the order in which their answers are needed. Results
    are equal because vertices and edges are the same; sources have no inputs, so inputs still come before users.
    """

    name: ClassVar[str] = "hoist"

    def run(self, graph: Graph) -> Rewritten:
        """Return the graph with its sources first."""
        late = []
        others = False
        for vertex in graph.vertices:
            if not isinstance(vertex.op, ops.Source):
                others = True
            elif others:
                late.append(vertex)
        if not late:
            return unchanged(graph)
        sources = [vertex for vertex in graph.vertices if isinstance(vertex.op, ops.Source)]
        rest = [vertex for vertex in graph.vertices if not isinstance(vertex.op, ops.Source)]
        notes = tuple(Note(graph, vertex, "moved ahead of the first computed vertex") for vertex in late)
        return Rewritten(
            graph=replace(graph, vertices=(*sources, *rest)), hits={self.name: len(notes)}, notes=notes
        )
