# SPDX-License-Identifier: Apache-2.0
"""Passes: pure functions from a graph to an equal but cheaper one, run before scheduling.

A pass is a frozen dataclass with a name. It is idempotent, never makes a graph costlier, returns the same object if nothing
changes, and never changes the layer boundaries of what is exported. Its docstring says why results are equal; docs/passes.md
is the catalogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from llbkit.llb.ir.graph import Graph
from llbkit.llb.ir.walk import no_garbage
from llbkit.records import dataclass
from llbkit.solver.passes.dedupe import Dedupe
from llbkit.solver.passes.empty_actions import EmptyActions
from llbkit.solver.passes.fuse import Fuse
from llbkit.solver.passes.hoist import Hoist
from llbkit.solver.passes.identity import Identity
from llbkit.solver.passes.prune import Prune
from llbkit.solver.passes.rewrite import Note, Part, Rewritten, Seen
from llbkit.solver.passes.scratch_copies import ScratchCopies
from llbkit.solver.passes.unused import Unused


class Pass(Protocol):
    """One rewrite of graphs."""

    @property
    def name(self) -> str:
        """What reports call it."""

    def run(self, graph: Graph) -> Rewritten:
        """Return the rewritten graph; the very same one if nothing applies."""


PIPELINE: tuple[Pass, ...] = (
    Prune(),
    Dedupe(),
    Unused(),
    Identity(),
    EmptyActions(),
    ScratchCopies(),
    Fuse(),
    Hoist(),
)
"""The passes in the order in which they run, for graphs whose head may be exported as an image."""

FILES_PIPELINE: tuple[Pass, ...] = tuple(
    Fuse(head=Seen.FILES) if isinstance(one, Fuse) else one for one in PIPELINE
)
"""The same for graphs of whose head only the files are seen, as of a directory that is written."""

NO_PASSES: tuple[Pass, ...] = ()


@dataclass(frozen=True, slots=True)
class Applied:
    """What one pass of a run did; ``before`` and ``after`` count vertices."""

    name: str
    before: int
    after: int
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimized(Rewritten):
    """The outcome of several passes. ``applied`` has one entry for each, also for those that did nothing."""

    applied: tuple[Applied, ...] = ()


def optimize(graph: Graph) -> Graph:
    """Return the graph after every pass of `PIPELINE`."""
    return run(graph).graph


def run(graph: Graph, passes: Sequence[Pass] = PIPELINE) -> Optimized:
    """Run passes one after the other; return the graph, what every vertex has become, and what each pass did."""
    first, given = graph, set[str]()
    moved: dict[str, str] = {}
    hits: dict[str, int] = {}
    notes: tuple[Note, ...] = ()
    parts: dict[str, tuple[Part, ...]] = {}
    applied: list[Applied] = []
    with no_garbage():
        for one in passes:
            step = one.run(graph)
            if step.moved:
                given = given or {vertex.digest for vertex in first}
                moved = {old: step.moved.get(new, new) for old, new in moved.items()}
                moved |= {old: new for old, new in step.moved.items() if old in given and old not in moved}
            parts = {step.moved.get(digest, digest): known for digest, known in parts.items()} | dict(
                step.parts
            )
            hits = {**hits, **step.hits}
            notes += step.notes
            applied.append(Applied(one.name, len(graph), len(step.graph), step.notes))
            graph = step.graph
        if moved:
            left = {vertex.digest for vertex in graph}
            moved = {old: new for old, new in moved.items() if new in left}
    return Optimized(graph=graph, moved=moved, hits=hits, notes=notes, parts=parts, applied=tuple(applied))


__all__ = [
    "FILES_PIPELINE",
    "NO_PASSES",
    "PIPELINE",
    "Applied",
    "Optimized",
    "Pass",
    "Rewritten",
    "Seen",
    "optimize",
    "run",
]
