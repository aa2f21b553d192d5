# SPDX-License-Identifier: Apache-2.0
"""Work outside the graph as a step: its events arrive in order, on one thread, and a broken display ends it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from llbkit.progress.display_step import as_display_step
from llbkit.solver.events import Event, VertexAdded, VertexCompleted, VertexStatus, VertexWarning
from llbkit.worker.base import StatusReport


def test_reports_of_other_threads_arrive_on_the_loops_thread() -> None:
    seen: list[Event] = []
    threads = set()

    def sink(event: Event) -> None:
        threads.add(threading.get_ident())
        seen.append(event)

    def work(report: StatusReport) -> int:
        for done in range(100):
            report("blob", "pushing", done, 99, done == 99)
        return threading.get_ident()

    async def main() -> int:
        return await as_display_step(
            "push", "Pushing", sink, lambda report: asyncio.to_thread(work, report), warnings=["old"]
        )

    worked = asyncio.run(main())
    assert worked not in threads
    assert threads == {threading.get_ident()}
    assert [event.short for event in seen if isinstance(event, VertexWarning)] == ["old"]
    statuses = [event for event in seen if isinstance(event, VertexStatus)]
    assert [status.current for status in statuses] == list(range(100))
    assert {status.started for status in statuses} == {statuses[0].time}
    assert [status.completed is not None for status in statuses] == [False] * 99 + [True]
    assert isinstance(seen[0], VertexAdded)
    assert isinstance(seen[-1], VertexCompleted)
    assert seen[-1].error == ""


def test_a_failure_is_the_steps_error() -> None:
    seen: list[Event] = []

    async def fail(report: StatusReport) -> None:
        raise ValueError("no such host")

    with pytest.raises(ValueError, match="no such host"):
        asyncio.run(as_display_step("key", "title", seen.append, fail))
    assert isinstance(seen[-1], VertexCompleted)
    assert seen[-1].error == "no such host"


def test_a_broken_display_ends_the_work() -> None:
    def sink(event: Event) -> None:
        if isinstance(event, VertexStatus):
            raise BrokenPipeError("nobody reads")

    async def work(report: StatusReport) -> None:
        await asyncio.to_thread(report, "id", "name", 1, 2, False)
        await asyncio.Event().wait()

    with pytest.raises(BrokenPipeError, match="nobody reads"):
        asyncio.run(as_display_step("key", "title", sink, work))
