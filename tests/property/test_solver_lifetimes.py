# SPDX-License-Identifier: Apache-2.0
"""Whatever is collected at whatever time: what a job uses stays, what nobody uses goes."""

from __future__ import annotations

import asyncio

from hypothesis import event, given, settings
from hypothesis import strategies as st
from support.solver_worlds import schedules, worlds
from support.solving import Elsewhere, graph_of, naive, solve, solver_of

from llbkit.llb.ir.graph import Edge
from llbkit.solver.cache.memory import MemoryStore
from llbkit.solver.fake import FakeWorker, Number, number, run, total
from llbkit.solver.solver import Solver

MOMENTS = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0]), min_size=1, max_size=4)


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_what_a_job_or_a_handle_needs_is_never_collected_and_all_else_is(data: st.DataObject) -> None:
    """The fake worker fails an operation whose input was released or collected."""
    world = data.draw(worlds())
    worker = FakeWorker(volatile=world.volatile, **data.draw(schedules(world)))
    jobs = data.draw(st.lists(st.tuples(st.sampled_from(world.edges()), MOMENTS), min_size=1, max_size=4))
    leaving = data.draw(st.dictionaries(st.integers(0, len(jobs) - 1), st.sampled_from([0.0, 0.5, 1.0, 3.0])))
    every = data.draw(st.sampled_from([0.0, 0.25, 1.0]))
    kept: list[Number] = []
    taken: set[str] = set()

    async def one(solver: Solver, head: Edge, moments: list[float]) -> None:
        async with solver.job(session=None) as job:
            for moment in moments:
                await worker.clock.sleep(moment)
                result = await job.solve(graph_of(head))
                assert result == naive(head)
            assert isinstance(result, Number)
            kept.append(result.clone())
        assert result.released

    async def collect() -> None:
        while True:
            taken.update(worker.collect())
            for handle in kept:
                worker.require(handle)
            await worker.clock.sleep(every or 0.125)

    async def main() -> None:
        solver = solver_of(worker, MemoryStore(), exec=2)
        collecting = asyncio.ensure_future(collect())
        tasks = [asyncio.ensure_future(one(solver, *job)) for job in jobs]
        for index, seconds in leaving.items():
            await worker.clock.sleep(seconds)
            tasks[index].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        if collecting.done():
            collecting.result()
        collecting.cancel()
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, BaseException):
                assert isinstance(outcome, asyncio.CancelledError), outcome
                assert index in leaving

    run(worker.clock, main())
    assert worker.leases == 0
    for handle in kept:
        worker.require(handle)
        handle.release()
    assert +worker.held == {}, "a handle was forgotten"
    worker.collect()
    assert worker.collected >= taken
    assert worker.collected == worker.held.keys()
    event(f"{len(taken)} taken while jobs ran")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_with_other_sources_values_are_right_and_what_they_know_is_not_executed(data: st.DataObject) -> None:
    world = data.draw(worlds())
    heads = data.draw(st.lists(st.sampled_from(world.edges()), min_size=1, max_size=3))
    worker = FakeWorker(volatile=world.volatile, **data.draw(schedules(world)))
    worker.unsaved = frozenset()
    sources = []
    for name in ("first", "second"):
        store = MemoryStore()
        for edge in data.draw(st.lists(st.sampled_from(world.edges()), max_size=2)):
            solve(FakeWorker(volatile=world.volatile, **data.draw(schedules(world))), edge, store=store)
        kept = [record.id for record in store.records()]
        if kept:
            store.delete(sorted(data.draw(st.sets(st.sampled_from(kept), max_size=2))))
        source = Elsewhere(store, worker, name)
        source.delay = data.draw(st.sampled_from([0.0, 0.5, 3.0]))
        source.broken = data.draw(st.sampled_from([frozenset(), frozenset(), {"query"}, {"load"}]))
        sources.append(source)
    leaving = data.draw(st.dictionaries(st.integers(0, 1), st.sampled_from([0.0, 1.0]), max_size=1))
    home = MemoryStore()
    for edge in data.draw(st.lists(st.sampled_from(world.edges()), max_size=2)):
        solve(FakeWorker(volatile=world.volatile, **data.draw(schedules(world))), edge, store=home)
    worker.lost = {str(value) for value in data.draw(st.sets(st.integers(0, 6), max_size=2))}

    async def one(solver: Solver) -> list[object]:
        async with solver.job(session=None) as job:
            return list(await asyncio.gather(*(job.solve(graph_of(head)) for head in heads)))

    async def main() -> None:
        solver = solver_of(worker, home, sources=sources, exec=2)
        tasks = [asyncio.ensure_future(one(solver)) for _ in range(2)]
        for index, seconds in leaving.items():
            await worker.clock.sleep(seconds)
            tasks[index].cancel()
        for index, outcome in enumerate(await asyncio.gather(*tasks, return_exceptions=True)):
            if index in leaving and isinstance(outcome, asyncio.CancelledError):
                continue
            assert outcome == [naive(head) for head in heads]
        assert solver.executing == 0

    run(worker.clock, main())
    assert +worker.held == {}
    assert worker.leases == 0
    whole = MemoryStore()
    solve(FakeWorker(volatile=world.volatile), *heads, store=whole)
    fresh = FakeWorker(volatile=world.volatile)
    far = Elsewhere(whole, fresh)

    async def again() -> None:
        assert await one(solver_of(fresh, MemoryStore(), sources=[far])) == [naive(head) for head in heads]

    run(fresh.clock, again())
    local = FakeWorker(volatile=world.volatile)
    solve(local, *heads, store=whole)
    assert fresh.calls == local.calls, "what is far away is as good as what is here"
    event(f"{len(worker.calls)} executed")


def test_a_step_that_fails_leaves_no_handle() -> None:
    worker = FakeWorker(failures=frozenset({"bad"}), delays={"bad": 1.0})
    head = total("bad", number("a", 1), total("sum", number("b", 2)))

    async def main() -> None:
        async with solver_of(worker).job(session=None) as job:
            for _ in range(2):
                outcome = await asyncio.gather(job.solve(graph_of(head)), return_exceptions=True)
                assert "inconsistent arithmetic" in str(outcome[0])

    run(worker.clock, main())
    assert +worker.held == {}
    assert worker.leases == 0
