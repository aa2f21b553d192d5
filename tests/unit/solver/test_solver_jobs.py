# SPDX-License-Identifier: Apache-2.0
"""The solver on a worker that adds numbers: values and call counts."""

from __future__ import annotations

import asyncio

import pytest
from support.solving import build, graph_of, naive, solve, solver_of

from llbkit.llb.ir.graph import Metadata
from llbkit.solver.cache.memory import MemoryStore
from llbkit.solver.errors import VertexError
from llbkit.solver.events import VertexAdded, VertexCompleted, VertexLog, VertexStarted
from llbkit.solver.fake import FakeWorker, number, run, total


def test_a_graph_gives_its_value_and_runs_each_vertex_once() -> None:
    worker = FakeWorker()
    one, two = number("one", 1), number("two", 2)
    left, right = total("left", one, two), total("right", two)
    assert solve(worker, total("head", left, right, left)) == [8]
    assert set(worker.calls.values()) == {1}


def test_independent_inputs_run_at_the_same_time() -> None:
    worker = FakeWorker(delays={"a": 5.0, "b": 5.0, "c": 5.0})
    began = worker.clock.time()
    assert solve(worker, total("head", number("a", 1), number("b", 2), number("c", 3))) == [6]
    assert worker.most_running == 3
    assert worker.clock.time() - began == 5.0


def test_stages_that_are_copied_one_after_the_other_run_at_the_same_time() -> None:
    """The last copy waits for the first to be looked at; what it copies itself need not."""
    worker = FakeWorker(delays={"a": 5.0, "b": 5.0, "c": 5.0})
    head = number("base", 0)
    for name in "abc":
        head = total(f"copy {name}", head, number(name, 1), content=[1])
    began = worker.clock.time()
    assert solve(worker, head) == [3]
    assert worker.clock.time() - began == 5.0


def test_a_hit_touches_nothing_below_it() -> None:
    worker, store = FakeWorker(), MemoryStore()
    head = total("head", total("middle", number("one", 1)))
    solve(worker, head, store=store)
    worker.calls.clear()
    assert solve(worker, head, store=store) == [1]
    assert not worker.calls


def test_volatile_sources_are_identified_by_content_only() -> None:
    store = MemoryStore()
    first = FakeWorker(volatile=frozenset({"dir"}))
    solve(first, total("run", total("copy", number("dir", 5), content=[0])), store=store)
    again = FakeWorker(volatile=frozenset({"dir"}))
    head = total("run", total("copy", number("dir", 5, variant="other session"), content=[0]))
    assert solve(again, head, store=store) == [5]
    assert dict(again.calls) == {"dir": 1}
    changed = FakeWorker(volatile=frozenset({"dir"}))
    assert solve(changed, total("run", total("copy", number("dir", 6), content=[0])), store=store) == [6]
    assert dict(changed.calls) == {"dir": 1, "copy": 1, "run": 1}


def test_equal_content_is_a_hit_although_the_step_before_ran() -> None:
    store = MemoryStore()
    solve(FakeWorker(), total("user", total("generate", number("n", 3), salt="a"), content=[0]), store=store)
    worker = FakeWorker()
    assert solve(
        worker, total("user", total("generate", number("n", 3), salt="b"), content=[0]), store=store
    ) == [3]
    assert dict(worker.calls) == {"generate": 1}


def test_a_content_hit_teaches_the_definition_key() -> None:
    """The third build needs no content key: the hit of the second linked the new definition to the record."""
    store = MemoryStore()
    solve(FakeWorker(), total("user", total("generate", number("n", 3), salt="a"), content=[0]), store=store)
    head = total("user", total("generate", number("n", 3), salt="b"), content=[0])
    solve(FakeWorker(), head, store=store)
    worker = FakeWorker()
    solve(worker, head, store=store)
    assert not worker.calls
    assert not worker.looks


def test_a_lost_result_is_made_again_and_its_record_replaced() -> None:
    store = MemoryStore()
    head = total("head", number("one", 41))
    solve(FakeWorker(), head, store=store)
    worker = FakeWorker(lost={"41"})
    assert solve(worker, head, store=store) == [41]
    assert worker.calls["head"] == 1
    assert solve(FakeWorker(), head, store=store) == [41]


def test_ignored_cache_runs_the_vertex_again_and_stores_it() -> None:
    store = MemoryStore()
    head = total("head", number("one", 1))
    solve(FakeWorker(), head, store=store)
    worker = FakeWorker()
    solve(worker, head, store=store, metadata={head.digest: Metadata(ignore_cache=True)})
    assert dict(worker.calls) == {"head": 1}
    worker = FakeWorker()
    solve(worker, head, store=store)
    assert not worker.calls


def test_a_failure_names_its_vertex_and_cancels_the_rest() -> None:
    events = []
    worker = FakeWorker(delays={"bad": 1.0, "slow": 60.0}, failures=frozenset({"bad"}))
    began = worker.clock.time()
    bad, slow = number("bad", 1), number("slow", 2)
    with pytest.raises(VertexError) as caught:
        solve(worker, total("head", bad, slow), progress=events.append)
    assert caught.value.digest == bad.digest
    assert isinstance(caught.value.cause, ArithmeticError)
    assert worker.clock.time() - began == 1.0
    ended = {e.digest: e.error for e in events if isinstance(e, VertexCompleted)}
    assert ended == {bad.digest: "inconsistent arithmetic in bad", slow.digest: "context canceled"}


def test_two_jobs_share_running_work_and_a_leaver_cancels_only_what_nobody_wants() -> None:
    worker = FakeWorker(delays={"shared": 10.0, "own": 10.0})
    shared, own = number("shared", 1), number("own", 2)

    async def one(solver, head):
        async with solver.job(session=None) as job:
            return await job.solve(graph_of(head))

    async def main():
        solver = solver_of(worker)
        first = asyncio.ensure_future(one(solver, total("first", shared, own)))
        second = asyncio.ensure_future(one(solver, total("second", shared)))
        for _ in range(20):
            await asyncio.sleep(0)
        first.cancel()
        assert await second == 1
        with pytest.raises(asyncio.CancelledError):
            await first
        return solver.executing

    assert run(worker.clock, main()) == 0
    assert worker.calls["shared"] == 1
    assert worker.calls["second"] == 1
    assert worker.calls["first"] == 0
    assert worker.running == 0


def test_resources_limit_what_runs_at_once() -> None:
    worker = FakeWorker(needs={"exec": 1}, delays={f"n{i}": 1.0 for i in range(9)})
    assert solve(worker, total("head", *(number(f"n{i}", i) for i in range(9)))) == [36]
    assert worker.most_running == 4


def test_events_tell_added_started_completed_in_order() -> None:
    events: list = []
    head = total("head", number("one", 1))
    store = MemoryStore()
    solve(FakeWorker(), head, progress=events.append, store=store)
    kinds = [type(e) for e in events if e.digest == head.digest]
    assert kinds == [VertexAdded, VertexStarted, VertexLog, VertexCompleted]
    events.clear()
    solve(FakeWorker(), head, progress=events.append, store=store)
    done = [e for e in events if isinstance(e, VertexCompleted)]
    assert [e.cached for e in done] == [True, True]


def test_a_long_chain_needs_no_deep_stack() -> None:
    head = number("one", 1)
    for i in range(3000):
        head = total(f"t{i}", head)
    store = MemoryStore()
    assert solve(FakeWorker(), head, store=store) == [1]
    worker = FakeWorker()
    assert solve(worker, head, store=store) == [1]
    assert not worker.calls


def test_scratch_has_no_result() -> None:
    from llbkit.llb.ir.graph import Graph

    async def main():
        solver = solver_of(FakeWorker())
        async with solver.job(session=None) as job:
            return await job.solve(Graph(vertices=(), head=None))

    assert asyncio.run(main()) is None


def test_a_sink_that_fails_ends_the_solve_with_its_error() -> None:
    """Whatever is reported, from wherever: nothing hangs, nothing is left running, the sink is not asked again."""
    for bad in range(1, 9):
        worker, seen = FakeWorker(delays={"a": 1.0, "b": 2.0}), []

        def sink(event, seen=seen, bad=bad) -> None:
            seen.append(event)
            if len(seen) == bad:
                raise BrokenPipeError

        with pytest.raises(BrokenPipeError):
            solve(worker, total("c", number("a", 1), number("b", 2)), progress=sink)
        assert len(seen) == bad


@pytest.mark.parametrize("remembered", [True, False])
def test_a_solve_that_is_cancelled_at_any_moment_can_be_done_again_in_the_same_job(remembered) -> None:
    """Also in the moment in which everything is done and only the search is being left."""
    a, b = number("a", 3), number("b", 4)
    head = total("end", total("x", a, b, content=[0, 1]), total("y", b, content=[0]), a, content=[0])

    def kept() -> MemoryStore:
        store = MemoryStore()
        if remembered:
            build(total("x", number("c", 3), number("d", 4), content=[0, 1]), store)
            build(total("y", number("d", 4), content=[0]), store)
        return store

    async def main(worker: FakeWorker, store: MemoryStore, moments: int) -> bool:
        async with solver_of(worker, store).job(session=None) as job:
            first = asyncio.ensure_future(job.solve(graph_of(head)))
            for _ in range(moments):
                await asyncio.sleep(0)
            done = first.done()
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            assert await job.solve(graph_of(total("again", head, a))) == naive(head) + 3
            return done

    last = False
    for moments in range(400):
        worker = FakeWorker()
        last = run(worker.clock, main(worker, kept(), moments))
        assert +worker.held == {}
        if last:
            break
    assert last
