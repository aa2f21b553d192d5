# SPDX-License-Identifier: Apache-2.0
"""Passes: pure functions from a graph to an equal but cheaper one, run before scheduling.

A pass is a frozen dataclass with a name. It is idempotent, never makes a graph costlier, returns the same object if nothing
changes, and never changes the layer boundaries of what is exported. Its docstring says why results are equal.
"""

from __future__ import annotations

from typing import Protocol

from llb.graph import Graph
from solver.passes.identity import Identity
from solver.passes.prune import Prune
from solver.passes.rewrite import Rewritten


class Pass(Protocol):
    """One rewrite of graphs."""

    @property
    def name(self) -> str:
        """What reports call it."""

    def run(self, graph: Graph) -> Rewritten:
        """Return the rewritten graph; the very same one if nothing applies."""


PIPELINE: tuple[Pass, ...] = (Identity(), Prune())
"""The passes in the order in which they run."""


def optimize(graph: Graph) -> Graph:
    """Return the graph after every pass of `PIPELINE`."""
    return run(graph).graph


def run(graph: Graph, passes: tuple[Pass, ...] = PIPELINE) -> Rewritten:
    """Run passes one after the other; return the graph, what every vertex has become, and the hits of each pass."""
    moved: dict[str, str] = {}
    hits: dict[str, int] = {}
    for one in passes:
        step = one.run(graph)
        moved = {old: step.moved.get(new, new) for old, new in moved.items()}
        moved = {**step.moved, **moved}
        hits = {**hits, **step.hits}
        graph = step.graph
    return Rewritten(graph=graph, moved=moved, hits=hits)


__all__ = ["PIPELINE", "Pass", "Rewritten", "optimize", "run"]
