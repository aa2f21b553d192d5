# SPDX-License-Identifier: Apache-2.0
"""For any graph, schedule and store, values are those of a naive evaluator and each distinct vertex runs at most once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from hypothesis import event, given, settings
from hypothesis import strategies as st
from support.solver_worlds import World, schedules, worlds
from support.solving import graph_of, ignoring, naive, solver_of

from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Edge, Vertex
from llbkit.llb.ir.walk import postorder
from llbkit.solver.cache.memory import MemoryStore
from llbkit.solver.events import Event, VertexCompleted, VertexStarted
from llbkit.solver.fake import FakeWorker, name_in, run
from llbkit.solver.ports import CacheStore


def solve_all(
    worker: FakeWorker,
    store: CacheStore,
    heads: list[Edge],
    *,
    jobs: int = 1,
    events: list[Event] | None = None,
    leaving: Mapping[int, float] | None = None,
    metadata: Mapping[str, object] | None = None,
) -> list[object]:
    """Solve every head in each of some concurrent jobs; those in ``leaving`` are cancelled after some seconds."""

    async def one(solver, number_: int) -> list[object]:
        async with solver.job(session=None, progress=(events if events is not None else []).append) as job:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(job.solve(graph_of(head, metadata))) for head in heads]
            return [task.result() for task in tasks]

    async def main() -> list[object]:
        solver = solver_of(worker, store, exec=2)
        tasks = [asyncio.ensure_future(one(solver, index)) for index in range(jobs)]
        for index, seconds in (leaving or {}).items():
            await worker.clock.sleep(seconds)
            tasks[index].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert solver.executing == 0
        assert worker.running == 0
        found: list[object] = []
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, asyncio.CancelledError):
                assert index in (leaving or {})
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                found.append(outcome)
        return found

    return run(worker.clock, main())  # type: ignore[return-value]


def unidentified(world: World) -> set[Vertex]:
    """Return what has no key ever: what uses volatile sources, or is made of such, in a way that no content identifies."""
    none: set[Vertex] = {v for v in world.vertices if name_in(v) in world.volatile}
    for vertex in world.vertices:
        if isinstance(vertex.op, ops.Exec) and any(
            edge.vertex in none and not vertex.op.mounts[i].readonly for i, edge in enumerate(vertex.inputs)
        ):
            none.add(vertex)
    return none


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_values_are_right_nothing_runs_twice_and_nothing_again(data: st.DataObject) -> None:
    world = data.draw(worlds())
    heads = data.draw(st.lists(st.sampled_from(world.edges()), min_size=1, max_size=3))
    expected = [naive(head) for head in heads]
    store = MemoryStore()
    for earlier in data.draw(st.lists(st.sampled_from(world.edges()), max_size=2)):
        solve_all(FakeWorker(volatile=world.volatile, **data.draw(schedules(world))), store, [earlier])
    kept = store.records()
    if kept:
        gone = data.draw(st.sets(st.sampled_from([record.id for record in kept]), max_size=3))
        store.delete(sorted(gone))

    worker = FakeWorker(volatile=world.volatile, **data.draw(schedules(world)))
    events: list[Event] = []
    assert solve_all(worker, store, heads, events=events) == [expected]
    distinct: dict[str, int] = {}
    for vertex in world.vertices:
        distinct[name_in(vertex)] = distinct.get(name_in(vertex), 0) + 1
    assert all(count <= distinct[name] for name, count in worker.calls.items())
    starts = [e.digest for e in events if isinstance(e, VertexStarted)]
    ends = [e.digest for e in events if isinstance(e, VertexCompleted)]
    assert sorted(starts) == sorted(ends)

    again = FakeWorker(volatile=world.volatile, **data.draw(schedules(world)))
    again.unsaved = frozenset()
    # What could not be kept before, or was not needed for want of luck in timing, is kept now.
    solve_all(FakeWorker(volatile=world.volatile), store, [Edge(vertex) for vertex in world.vertices])
    assert solve_all(again, store, heads) == [expected]
    event(f"{len(again.calls)} again")
    assert set(again.calls) <= {name_in(vertex) for vertex in unidentified(world)}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_jobs_share_what_runs_and_leave_without_harm(data: st.DataObject) -> None:
    world = data.draw(worlds())
    heads = data.draw(st.lists(st.sampled_from(world.edges()), min_size=1, max_size=2))
    leaving = data.draw(st.dictionaries(st.integers(0, 2), st.sampled_from([0.0, 0.5, 1.0, 3.0]), max_size=2))
    worker = FakeWorker(volatile=world.volatile, **data.draw(schedules(world)))
    worker.unsaved = frozenset()
    found = solve_all(worker, MemoryStore(), heads, jobs=3, leaving=leaving)
    assert all(values == [naive(head) for head in heads] for values in found)
    assert len(found) >= 3 - len(leaving)
    if not leaving:
        shared = {name_in(v) for v in world.vertices} - {name_in(v) for v in unidentified(world)} - {"same"}
        assert all(worker.calls[name] <= 1 for name in shared)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_renewing_every_source_gives_the_present_values_and_they_stay(data: st.DataObject) -> None:
    """Sources change behind the solver's back; whatever was remembered before, a renewed build never mixes it in."""
    world = data.draw(worlds())
    sources = [vertex for vertex in world.vertices if isinstance(vertex.op, ops.Source)]
    head = data.draw(st.sampled_from(world.edges()))
    store = MemoryStore()
    for _ in range(data.draw(st.integers(1, 4))):
        values = {name_in(source): data.draw(st.integers(0, 2)) for source in sources}
        worker = FakeWorker(values=values, **data.draw(schedules(world)))
        worker.unsaved = frozenset()
        worker.clock.now = data.draw(st.sampled_from([1000.0, 2000.0, 3000.0]))  # clocks go wrong
        found = solve_all(worker, store, [head], metadata=ignoring(*sources))
        assert found == [[present(head, values)]]
        after = FakeWorker(values={})
        assert solve_all(after, store, [head]) == found
        assert not after.calls


def present(head: Edge, values: Mapping[str, int]) -> int:
    results: dict[Edge, int] = {}
    for vertex in postorder([head.vertex], lambda v: [edge.vertex for edge in v.inputs]):
        for output in range(3):
            if isinstance(vertex.op, ops.Source):
                results[Edge(vertex, output)] = values[name_in(vertex)]
            else:
                results[Edge(vertex, output)] = sum(results[edge] for edge in vertex.inputs) + output
    return results[head]
