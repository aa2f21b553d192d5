# SPDX-License-Identifier: Apache-2.0
"""Jobs that share work while it runs, and what their clients see of it."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest
from support.solving import graph_of, ignoring, solve, solver_of

from llbkit.grammar import Source
from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Metadata, ProgressGroup, Vertex
from llbkit.llb.ir.sourcemap import Location, SourceInfo, SourceMap
from llbkit.llb.tools.names import name_of
from llbkit.solver.cache.memory import MemoryStore
from llbkit.solver.errors import VertexError
from llbkit.solver.events import VertexAdded, VertexCompleted, VertexLog, VertexStarted, VertexStatus
from llbkit.solver.fake import FakeWorker, number, run, total
from llbkit.solver.reporting import Reporter


async def one(solver, head, *, events=None, metadata=None, after=0.0, clock=None):
    if clock is not None:
        await clock.sleep(after)
    async with solver.job(session=None, progress=(events if events is not None else []).append) as job:
        return await job.solve(graph_of(head, metadata))


def test_a_later_job_joins_running_work_and_sees_what_it_missed() -> None:
    worker = FakeWorker(delays={"shared": 10.0})
    shared = number("shared", 4)
    seen: list = []

    async def main():
        solver = solver_of(worker)
        async with asyncio.TaskGroup() as group:
            group.create_task(one(solver, total("first", shared)))
            late = group.create_task(
                one(solver, total("second", shared), events=seen, after=5.0, clock=worker.clock)
            )
        return late.result()

    assert run(worker.clock, main()) == 4
    assert worker.calls["shared"] == 1
    mine = [event for event in seen if event.digest == shared.digest]
    assert [type(event) for event in mine] == [VertexAdded, VertexStarted, VertexLog, VertexCompleted]
    assert mine[2].data == b"working on shared\n"


def test_shared_work_outlives_the_job_that_began_it() -> None:
    worker = FakeWorker(delays={"shared": 10.0})
    shared = number("shared", 4)
    first_events: list = []
    second_events: list = []

    async def main():
        solver = solver_of(worker)
        first = asyncio.ensure_future(one(solver, shared, events=first_events))
        second = asyncio.ensure_future(one(solver, shared, events=second_events))
        await worker.clock.sleep(3.0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert solver.executing == 1
        return await second

    assert run(worker.clock, main()) == 4
    assert worker.calls["shared"] == 1
    assert [e.error for e in first_events if isinstance(e, VertexCompleted)] == ["context canceled"]
    assert [e.error for e in second_events if isinstance(e, VertexCompleted)] == [""]


def test_the_last_job_to_leave_stops_the_work() -> None:
    worker = FakeWorker(delays={"shared": 10.0})

    async def main():
        solver = solver_of(worker)
        tasks = [asyncio.ensure_future(one(solver, number("shared", 4))) for _ in range(3)]
        await worker.clock.sleep(3.0)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        assert solver.executing == 0
        assert worker.running == 0

    run(worker.clock, main())
    assert worker.clock.time() == 1003.0


def test_a_failure_reaches_every_job() -> None:
    worker = FakeWorker(delays={"bad": 3.0}, failures=frozenset({"bad"}))
    bad = number("bad", 1)

    async def main():
        solver = solver_of(worker)
        heads = (total("first", bad), total("second", bad))
        return await asyncio.gather(*(one(solver, head) for head in heads), return_exceptions=True)

    outcomes = run(worker.clock, main())
    assert [type(outcome) for outcome in outcomes] == [VertexError, VertexError]
    assert {outcome.digest for outcome in outcomes} == {bad.digest}
    assert worker.calls["bad"] == 1


def test_who_ignores_the_cache_does_not_join_what_runs() -> None:
    worker = FakeWorker(delays={"shared": 10.0})
    shared = number("shared", 4)

    async def main():
        solver = solver_of(worker)
        async with asyncio.TaskGroup() as group:
            group.create_task(one(solver, shared))
            group.create_task(one(solver, shared, metadata=ignoring(shared), after=1.0, clock=worker.clock))

    run(worker.clock, main())
    assert worker.calls["shared"] == 2


def test_equal_keys_are_one_execution_whatever_the_digests() -> None:
    """Caps and the like are no part of a vertex's own key."""
    worker = FakeWorker(delays={"one": 2.0})
    first = number("one", 1)
    second = Vertex.make(first.op, constraints=("some constraint",))
    assert first.digest != second.digest
    assert solve(worker, total("head", first, second)) == [2]
    assert worker.calls["one"] == 1


def test_a_cancelled_solve_can_be_asked_again_in_the_same_job() -> None:
    worker = FakeWorker(delays={"one": 10.0})
    head = total("head", number("one", 1))

    async def main():
        async with solver_of(worker).job(session=None) as job:
            task = asyncio.ensure_future(job.solve(graph_of(head)))
            await worker.clock.sleep(1.0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await job.solve(graph_of(head))

    assert run(worker.clock, main()) == 1
    assert worker.calls["one"] == 2


def test_concurrent_solves_of_one_job_fail_and_succeed_by_themselves() -> None:
    worker = FakeWorker(delays={"shared": 5.0, "bad": 1.0}, failures=frozenset({"bad"}))
    shared = number("shared", 1)

    async def main():
        async with solver_of(worker).job(session=None) as job:
            return await asyncio.gather(
                job.solve(graph_of(total("wrong", shared, number("bad", 2)))),
                job.solve(graph_of(total("right", shared))),
                return_exceptions=True,
            )

    wrong, right = run(worker.clock, main())
    assert isinstance(wrong, VertexError)
    assert right == 1
    assert worker.calls["shared"] == 1


def test_among_ready_vertices_the_longest_path_goes_first() -> None:
    """Durations are remembered: the source below the long chain is started before the others, although it comes last."""
    long = total("c3", total("c2", total("c1", number("long", 1))))
    quick = [number(f"quick{i}", i) for i in range(3)]
    head = total("head", *quick, long)
    store = MemoryStore()
    delays = {"c1": 50.0, "c2": 50.0, "c3": 50.0}
    solve(FakeWorker(delays=delays, needs={"exec": 1}), head, store=store, exec=1)
    store.delete([r.id for r in store.records() if "name" in r.ingredients])
    worker = FakeWorker(delays=delays, needs={"exec": 1})
    solve(worker, head, metadata=ignoring(*quick, *(v for v in graph_of(long).vertices)), store=store, exec=1)
    assert worker.order[0] == "long"
    assert worker.order[1] == "c1"


def test_a_need_for_an_unknown_resource_is_an_error_of_the_vertex() -> None:
    with pytest.raises(VertexError, match="gpu"):
        solve(FakeWorker(needs={"gpu": 1}), number("one", 1))


# -- events


def test_what_a_hit_makes_needless_is_shown_as_cached_inputs_first() -> None:
    store = MemoryStore()
    one_ = number("one", 1)
    middle = total("middle", one_)
    head = total("head", middle)
    solve(FakeWorker(), head, store=store)
    events: list = []
    solve(FakeWorker(), total("new", head), store=store, progress=events.append)
    cached = [event.digest for event in events if isinstance(event, VertexCompleted) and event.cached]
    assert cached == [one_.digest, middle.digest, head.digest]


def test_every_vertex_is_added_once_before_anything_starts() -> None:
    events: list = []
    base = number("one", 1)
    group = Metadata(progress_group=ProgressGroup(id="group", name="a group"))
    head = total("head", total("middle", base), base)
    solve(FakeWorker(), head, head, progress=events.append, metadata={base.digest: group})
    added = [event for event in events if isinstance(event, VertexAdded)]
    assert [event.digest for event in added] == [v.digest for v in graph_of(head).vertices]
    assert events[: len(added)] == added
    assert added[0].group == "group"
    assert added[-1].inputs == (added[1].digest, base.digest)


def test_a_vertex_takes_the_name_and_lines_that_a_later_graph_gives_it() -> None:
    worker = FakeWorker(failures=frozenset({"head"}))
    base = number("one", 1)
    head = total("head", base)
    named = graph_of(head, {base.digest: Metadata(description={"llb.customname": "the base"})})
    events: list = []

    async def main() -> None:
        async with solver_of(worker).job(session=None, progress=events.append) as job:
            await job.solve(graph_of(base))
            with pytest.raises(VertexError):
                await job.solve(named)

    run(worker.clock, main())
    assert [e.name for e in events if isinstance(e, VertexAdded) and e.digest == base.digest] == [
        "int://one?value=1&",
        "the base",
    ]


def test_a_failure_tells_the_lines_it_comes_from() -> None:
    text = Source("Dockerfile", "FROM one\nRUN bad\n")
    bad = total("bad", number("one", 1))
    plain = graph_of(total("head", bad))
    source_map = SourceMap(
        infos=(SourceInfo(source=text),), locations={bad.digest: (Location(info=0, lines=((2, 2),)),)}
    )
    worker = FakeWorker(failures=frozenset({"bad"}))

    async def main() -> None:
        async with solver_of(worker).job(session=None) as job:
            await job.solve(replace(plain, source_map=source_map))

    with pytest.raises(VertexError) as caught:
        run(worker.clock, main())
    assert [span.start_line for span in caught.value.spans] == [2]
    assert caught.value.name == "sum bad "


def test_a_failure_without_lines_of_its_own_tells_those_of_what_it_is_for() -> None:
    text = Source("Dockerfile", "FROM one\nADD bad\n")
    bad = total("bad", number("one", 1))
    plain = graph_of(total("head", bad))
    assert plain.head is not None
    head = plain.head.vertex.digest
    source_map = SourceMap(
        infos=(SourceInfo(source=text),), locations={head: (Location(info=0, lines=((2, 2),)),)}
    )
    worker = FakeWorker(failures=frozenset({"one"}))

    async def main() -> None:
        async with solver_of(worker).job(session=None) as job:
            await job.solve(replace(plain, source_map=source_map))

    with pytest.raises(VertexError) as caught:
        run(worker.clock, main())
    assert [span.start_line for span in caught.value.spans] == [2]


def test_what_waits_for_resources_is_not_shown_as_started() -> None:
    worker = FakeWorker(needs={"exec": 1}, delays={"a": 5.0, "b": 5.0})
    events: list = []
    solve(worker, total("head", number("a", 1), number("b", 2)), progress=events.append, exec=1)
    started = [event.time for event in events if isinstance(event, VertexStarted)]
    assert started == [1000.0, 1005.0, 1010.0]


def test_every_start_has_an_end_also_when_a_neighbour_fails() -> None:
    worker = FakeWorker(delays={"bad": 1.0, "slow": 9.0}, failures=frozenset({"bad"}))
    events: list = []
    with pytest.raises(VertexError):
        solve(worker, total("head", number("bad", 1), number("slow", 2)), progress=events.append)
    started = [event.digest for event in events if isinstance(event, VertexStarted)]
    ended = [event.digest for event in events if isinstance(event, VertexCompleted)]
    assert sorted(started) == sorted(ended)


def test_events_from_threads_arrive_in_order_on_the_thread_of_the_loop() -> None:
    seen: list[tuple[object, int]] = []

    async def main() -> None:
        reporter = Reporter(lambda event: seen.append((event, threading.get_ident())))
        reporter.bind()

        def work() -> None:
            for index in range(500):
                reporter.emit(VertexLog(digest="d", stream=1, data=b"%d" % index, time=0.0))

        await asyncio.get_running_loop().run_in_executor(None, work)
        reporter.emit(VertexCompleted(digest="d", time=0.0))

    asyncio.run(main())
    assert [event.data for event, _ in seen[:-1]] == [b"%d" % index for index in range(500)]
    assert isinstance(seen[-1][0], VertexCompleted)
    assert {thread for _, thread in seen} == {threading.get_ident()}


def test_sub_progress_keeps_the_time_it_began() -> None:
    class Reporting(FakeWorker):
        def operation(self, vertex, metadata, session):
            made = super().operation(vertex, metadata, session)
            plain = made.execute

            async def execute(inputs, step):
                step.status("layer", "downloading", 1, 4)
                await self.clock.sleep(2.0)
                step.status("layer", "downloading", 4, 4, done=True)
                assert step.metadata == metadata
                assert step.name == f"int://{'one'}?value=1&"
                return await plain(inputs, step)

            made.execute = execute
            return made

    events: list = []
    solve(Reporting(), number("one", 1), progress=events.append)
    statuses = [event for event in events if isinstance(event, VertexStatus)]
    assert [(e.current, e.started, e.completed) for e in statuses] == [(1, 1000.0, None), (4, 1000.0, 1002.0)]


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (ops.Source(identifier="docker-image://a"), "docker-image://a"),
        (ops.Exec(meta=ops.Meta(args=("sh", "-c", "make")), mounts=()), "sh -c make"),
        (ops.Merge(inputs=(0, 1)), "merge (first, second)"),
        (ops.Diff(lower=-1, upper=1), "diff scratch -> second"),
        (ops.Diff(lower=0, upper=1), "diff first -> second"),
        (ops.Build(), "build"),
        (
            ops.File(
                actions=(
                    ops.FileAction(action=ops.Copy(src="/a", dest="/b")),
                    ops.FileAction(action=ops.MkDir(path="/d")),
                    ops.FileAction(action=ops.MkFile(path="/f")),
                    ops.FileAction(action=ops.Rm(path="/r")),
                    ops.FileAction(action=ops.Symlink(oldpath="/o", newpath="/n")),
                )
            ),
            "copy /a /b, mkdir /d, mkfile /f, rm /r, symlink /n -> /o",
        ),
    ],
)
def test_default_names(op, expected) -> None:
    vertex = Vertex(op=op, inputs=(), digest="d", raw=b"")
    assert name_of(vertex, Metadata(), ["first", "second"]) == expected
    assert name_of(vertex, Metadata(description={"llb.customname": "given"}), []) == "given"
