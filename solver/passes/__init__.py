# SPDX-License-Identifier: Apache-2.0
"""Passes: pure functions from a graph to an equal but cheaper one, run before scheduling.

A pass is idempotent, never makes a graph costlier, returns the same object if nothing changes, and never changes the
layer boundaries of what is exported.
"""

from __future__ import annotations

from collections.abc import Callable

from llb.graph import Graph
from solver.passes.prune import prune

PIPELINE: tuple[Callable[[Graph], Graph], ...] = (prune,)


def optimize(graph: Graph) -> Graph:
    """Run every pass of `PIPELINE`."""
    for step in PIPELINE:
        graph = step(graph)
    return graph
