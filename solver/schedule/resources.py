# SPDX-License-Identifier: Apache-2.0
"""Named semaphores whose waiters are served by priority, the longest remaining path first."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

_CALM = 6
"""Turns of the event loop without activity after which nobody else is about to ask; a wake-up takes up to four."""
_LONGEST = 2000
"""Turns to wait for calm at most."""

_Waiter: TypeAlias = "tuple[float, int, asyncio.Future[None]]"


class Resources:
    """A fixed amount of each named resource. A need larger than the whole amount is cut to it.

    Waiters with equal needs share a queue, so serving costs the number of different needs, not of waiters.
    """

    def __init__(self, amounts: Mapping[str, int]) -> None:
        self._total = dict(amounts)
        self._free = dict(amounts)
        self._queues: dict[tuple[tuple[str, int], ...], list[_Waiter]] = {}
        self._count = 0
        self._called = False
        self._stirred = 0

    def stir(self) -> None:
        """Note activity: a vertex with a longer path may be about to ask."""
        self._stirred += 1

    @asynccontextmanager
    async def hold(self, needs: Mapping[str, int], priority: float) -> AsyncIterator[None]:
        """Wait until all ``needs`` are free together, and hold them; larger priorities are served first.

        Nothing is given away before the loop has calmed down, so that all who are ready are compared, not only the first
        to arrive (the deeper a vertex lies, the later). Who needs little may overtake who needs more than is free, so that
        nothing lies idle.

        Raises:
            KeyError: the resource does not exist.
        """
        wanted = {name: min(amount, self._total[name]) for name, amount in needs.items() if amount > 0}
        if wanted:
            await self._wait(wanted, priority)
        try:
            yield
        finally:
            self._give_back(wanted)

    async def _wait(self, wanted: dict[str, int], priority: float) -> None:
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        queue = self._queues.setdefault(tuple(sorted(wanted.items())), [])
        heapq.heappush(queue, (-priority, self._count, granted))
        self._serve_soon()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self._give_back(wanted)
            raise

    def _give_back(self, amounts: Mapping[str, int]) -> None:
        for name, amount in amounts.items():
            self._free[name] += amount
        self._serve_soon()

    def _serve_soon(self) -> None:
        if self._queues and not self._called:
            self._called = True
            self._await_calm(self._stirred, _CALM, _LONGEST)

    def _await_calm(self, stirred: int, calm: int, left: int) -> None:
        if self._stirred != stirred:
            calm = _CALM
        if not calm or not left:
            self._called = False
            self._serve()
            return
        asyncio.get_running_loop().call_soon(self._await_calm, self._stirred, calm - 1, left - 1)

    def _serve(self) -> None:
        while True:
            fitting = []
            for needs, queue in list(self._queues.items()):
                while queue and queue[0][2].cancelled():
                    heapq.heappop(queue)
                if not queue:
                    del self._queues[needs]
                elif all(self._free[name] >= amount for name, amount in needs):
                    fitting.append((queue[0][:2], needs))
            if not fitting:
                return
            _, needs = min(fitting)
            _, _, granted = heapq.heappop(self._queues[needs])
            for name, amount in needs:
                self._free[name] -= amount
            granted.set_result(None)
