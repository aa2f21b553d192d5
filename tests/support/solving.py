# SPDX-License-Identifier: Apache-2.0
"""Driving the solver in tests, in virtual time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field

from llbkit.llb.ir.graph import Edge, Graph, Metadata, Vertex
from llbkit.llb.ir.walk import postorder
from llbkit.records import dataclass
from llbkit.solver.cache.memory import MemoryStore
from llbkit.solver.cache.source import StoreSource
from llbkit.solver.events import Event, Progress, discard
from llbkit.solver.explain import Explanation, explain
from llbkit.solver.fake import FakeWorker, run, value_of
from llbkit.solver.ports import CacheSource, CacheStore, Link, Loaded, Record, Result
from llbkit.solver.solver import Solver


def graph_of(head: Vertex | Edge, metadata: Mapping[str, Metadata] | None = None) -> Graph:
    edge = head if isinstance(head, Edge) else Edge(head)
    vertices = postorder([edge.vertex], lambda v: [edge.vertex for edge in v.inputs])
    return Graph(vertices=tuple(vertices), head=edge, metadata=metadata or {})


def solver_of(
    worker: FakeWorker,
    store: CacheStore | None = None,
    *,
    sources: Sequence[CacheSource] = (),
    **resources: int,
) -> Solver:
    return Solver(
        worker,
        store or MemoryStore(),
        sources=sources,
        resources={"exec": 4, **resources},
        clock=worker.clock,
    )


def solve(
    worker: FakeWorker,
    *heads: Vertex | Edge,
    store: CacheStore | None = None,
    progress: Progress = discard,
    metadata: Mapping[str, Metadata] | None = None,
    **resources: int,
) -> list[object]:
    """Solve heads one after the other in one job on a fresh solver and return their values."""

    async def main() -> list[object]:
        solver = solver_of(worker, store, **resources)
        async with solver.job(session=None, progress=progress) as job:
            return [await job.solve(graph_of(head, metadata)) for head in heads]

    return run(worker.clock, main())


@dataclass
class Build:
    """What one build did."""

    value: object
    calls: Mapping[str, int]
    looks: Mapping[str, int]
    seconds: float
    explanations: Mapping[str, Explanation]
    events: list[Event] = field(default_factory=list)


def build(
    head: Vertex | Edge,
    store: CacheStore,
    *,
    metadata: Mapping[str, Metadata] | None = None,
    **behaviour: object,
) -> Build:
    """Solve one head with a fresh worker of some behaviour and tell what happened."""
    worker = FakeWorker(**behaviour)  # type: ignore[arg-type]
    began = worker.clock.time()
    events: list[Event] = []

    async def main() -> tuple[object, Mapping[str, Explanation]]:
        async with solver_of(worker, store).job(session=None, progress=events.append) as job:
            value = await job.solve(graph_of(head, metadata))
            return value, {
                miss.name.split()[1]: explain(miss, store) for miss in job.misses() if " " in miss.name
            }

    value, explanations = run(worker.clock, main())
    return Build(
        value, dict(worker.calls), dict(worker.looks), worker.clock.time() - began, explanations, events
    )


def ignoring(*vertices: Vertex) -> dict[str, Metadata]:
    return {vertex.digest: Metadata(ignore_cache=True) for vertex in vertices}


def naive(head: Vertex | Edge) -> int:
    """Compute a head without any solver."""
    edge = head if isinstance(head, Edge) else Edge(head)
    values: dict[tuple[Vertex, int], int] = {}
    order: Sequence[Vertex] = postorder([edge.vertex], lambda v: [e.vertex for e in v.inputs])
    for vertex in order:
        inputs = [values[e.vertex, e.index] for e in vertex.inputs]
        for output in range(8):
            values[vertex, output] = value_of(vertex, inputs, output)
    return values[edge.vertex, edge.index]


class Elsewhere(StoreSource):
    """A source far away: what another machine's builds have left, handed to ``worker``. Counts what it is asked.

    ``delay`` is in seconds, for each exchange; ``broken`` names the methods that fail.
    """

    def __init__(self, store: CacheStore, worker: FakeWorker, name: str = "elsewhere") -> None:
        super().__init__(store, worker, name)
        self.clock = worker.clock
        self.delay = 0.0
        self.broken: frozenset[str] = frozenset()
        self.queries: list[Sequence[Link]] = []
        self.loads: list[frozenset[str]] = []
        self.saves = 0

    async def query(self, links: Sequence[Link]) -> Sequence[frozenset[str]]:
        self.queries.append(links)
        await self._exchange("query")
        answers = await super().query(links)
        return answers[1:] if "answers" in self.broken else answers

    async def load(self, record_ids: Collection[str]) -> Loaded | None:
        self.loads.append(frozenset(record_ids))
        await self._exchange("load")
        return await super().load(record_ids)

    async def save(self, record: Record, links: Sequence[Link], results: Sequence[Result]) -> bool:
        self.saves += 1
        return await super().save(record, links, results)

    async def _exchange(self, what: str) -> None:
        if self.delay:
            await self.clock.sleep(self.delay)
        if what in self.broken:
            raise ConnectionError(f"cannot {what}")
