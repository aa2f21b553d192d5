# SPDX-License-Identifier: Apache-2.0
"""Single flight: equal work runs once, everybody waiting shares it, and the last one to leave cancels it.

This is the only place that makes tasks outside a `TaskGroup`: a flight has several owners, and is owned here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Flights(Generic[T]):
    """Running work by key. A key is free again when its work has ended; results are not kept."""

    def __init__(self) -> None:
        self._running: dict[Hashable, _Flight[T]] = {}

    def __len__(self) -> int:
        return len(self._running)

    async def run(self, key: Hashable, name: str, work: Callable[[], Awaitable[T]]) -> T:
        """Return the result of ``work``, joining equal work that already runs.

        If the waiting task is cancelled and nobody else waits, the work is cancelled and waited for.
        """
        flight = self._running.get(key)
        if flight is None or flight.leaving:
            flight = _Flight(work, name)
            self._running[key] = flight
            flight.task.add_done_callback(lambda _: self._land(key, flight))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if flight.waiting == 1 and not flight.task.done():
                flight.leaving = True
                flight.task.cancel()
                await _settled(flight.task)
            raise
        finally:
            flight.waiting -= 1

    def _land(self, key: Hashable, flight: _Flight[T]) -> None:
        if self._running.get(key) is flight:
            del self._running[key]
        if not flight.task.cancelled():
            flight.task.exception()  # mark it as seen: every waiter gets it through its own await


class _Flight(Generic[T]):
    def __init__(self, work: Callable[[], Awaitable[T]], name: str) -> None:
        async def go() -> T:
            return await work()

        self.task = asyncio.get_running_loop().create_task(go(), name=name)
        self.waiting = 0
        self.leaving = False


async def _settled(task: asyncio.Task[T]) -> None:
    """Wait for a cancelled task, even if the wait itself is cancelled again."""
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            continue


async def together(*work: Awaitable[T]) -> list[T]:
    """Run awaitables concurrently and return their results in order.

    The first real failure cancels the others and is raised as it is, not as a group.
    """
    if len(work) == 1:
        return [await work[0]]

    async def one(item: Awaitable[T]) -> T:
        return await item

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item)) for item in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures.exceptions[0].__cause__
    return [task.result() for task in tasks]
