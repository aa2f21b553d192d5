# SPDX-License-Identifier: Apache-2.0
"""Driving the solver in tests, in virtual time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llbkit.llb.ir.graph import Edge, Graph, Metadata, Vertex
from llbkit.llb.ir.walk import postorder
from llbkit.solver.cache.memory import MemoryStore
from llbkit.solver.events import Event, Progress, discard
from llbkit.solver.explain import Explanation, explain
from llbkit.solver.fake import FakeWorker, run, value_of
from llbkit.solver.ports import CacheStore
from llbkit.solver.solver import Solver


def graph_of(head: Vertex | Edge, metadata: Mapping[str, Metadata] | None = None) -> Graph:
    edge = head if isinstance(head, Edge) else Edge(head)
    vertices = postorder([edge.vertex], lambda v: [edge.vertex for edge in v.inputs])
    return Graph(vertices=tuple(vertices), head=edge, metadata=metadata or {})


def solver_of(worker: FakeWorker, store: CacheStore | None = None, **resources: int) -> Solver:
    return Solver(worker, store or MemoryStore(), resources={"exec": 4, **resources}, clock=worker.clock)


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
