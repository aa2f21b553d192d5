# SPDX-License-Identifier: Apache-2.0
"""Whatever is collected at whatever time: what a job uses stays, what nobody uses goes."""

from __future__ import annotations

import asyncio

from hypothesis import event, given, settings
from hypothesis import strategies as st
from support.solver_worlds import schedules, worlds
from support.solving import graph_of, naive, solver_of

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
