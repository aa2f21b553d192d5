# SPDX-License-Identifier: Apache-2.0
"""Single flight: equal work runs once, everybody waiting shares it, and the last one to leave cancels it.

This is the only place that makes tasks outside a `TaskGroup`: a flight has several owners, and is owned here. Who joins a
flight holds a seat; when the last seat is given back before the work has ended, the work is cancelled and its end awaited,
so nothing of it is left running. Who comes in that moment waits for the end too, and then starts the work afresh.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

T = TypeVar("T")
W = TypeVar("W", bound=Callable[[], Awaitable[Any]])


class Flight(Generic[W, T]):
    """Work that runs, and how many wait for it. ``work`` is the callable of the first caller."""

    def __init__(self, work: W, name: str) -> None:
        async def go() -> T:
            result: T = await work()
            return result

        self.work = work
        self.task: asyncio.Task[T] = asyncio.get_running_loop().create_task(go(), name=name)
        self.seats = 0
        self.leaving = False

    async def landing(self) -> T:
        """Return the result of the work, or raise what it raised."""
        return await asyncio.shield(self.task)


class Flights(Generic[W, T]):
    """Running work by key. A key is free again when its work has ended; results are not kept.

    ``dispose`` is handed the result of work when the last seat is given back: those who want to keep it have seen to that.
    """

    def __init__(self, dispose: Callable[[T], None] = lambda _: None) -> None:
        self._running: dict[Hashable, Flight[W, T]] = {}
        self._dispose = dispose

    def __len__(self) -> int:
        return len(self._running)

    @asynccontextmanager
    async def join(self, key: Hashable, name: str, work: W) -> AsyncIterator[Flight[W, T]]:
        """Hold a seat in the flight of ``key`` while the context lasts; start it if there is none."""
        while (flight := self._running.get(key)) is not None and flight.leaving:
            await asyncio.wait([flight.task])
        if flight is None:
            flight = self._start(key, name, work)
        flight.seats += 1
        try:
            yield flight
        finally:
            flight.seats -= 1
            if flight.seats == 0:
                await self._close(key, flight)

    async def run(self, key: Hashable, name: str, work: W) -> T:
        """Return the result of ``work``, joining equal work that already runs."""
        async with self.join(key, name, work) as flight:
            return await flight.landing()

    def _start(self, key: Hashable, name: str, work: W) -> Flight[W, T]:
        flight: Flight[W, T] = Flight(work, name)
        self._running[key] = flight
        flight.task.add_done_callback(lambda _: self._land(key, flight))
        return flight

    async def _close(self, key: Hashable, flight: Flight[W, T]) -> None:
        task = flight.task
        try:
            if not task.done():
                flight.leaving = True
                task.cancel()
                await _end_of(task)
        finally:
            self._land(key, flight)  # nobody may join any more
            if not task.cancelled() and task.exception() is None:
                self._dispose(task.result())

    def _land(self, key: Hashable, flight: Flight[W, T]) -> None:
        if self._running.get(key) is flight:
            del self._running[key]
        if not flight.task.cancelled():
            flight.task.exception()  # mark it as seen: who waits gets it through `landing`


async def _end_of(task: asyncio.Task[T]) -> None:
    """Wait for the end of a cancelled task, also if the wait is cancelled; that is raised afterwards."""
    interruption: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            interruption = error
    if interruption is not None:
        raise interruption


async def together(*work: Awaitable[T]) -> list[T]:
    """Run awaitables concurrently and return their results in order.

    The first failure cancels the others and is raised as it is, not as a group. Failures are kept from the `TaskGroup`:
    on Python 3.11 one that fails while it is being left forgets a cancellation from outside.
    """
    if len(work) == 1:
        return [await work[0]]
    failures: list[Exception] = []
    tasks: list[asyncio.Task[T]] = []

    async def one(item: Awaitable[T]) -> T:
        try:
            return await item
        except Exception as error:
            failures.append(error)
            for task in tasks:
                task.cancel()
            raise asyncio.CancelledError from None

    try:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(one(item)) for item in work]
    finally:
        for item in work:
            if isinstance(item, Coroutine):
                item.close()  # one that was cancelled before its first step
    if failures:
        raise failures[0]
    return [task.result() for task in tasks]
