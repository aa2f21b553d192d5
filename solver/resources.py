# SPDX-License-Identifier: Apache-2.0
"""Named semaphores whose waiters are served by priority, the longest remaining path first."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager


class Resources:
    """A fixed amount of each named resource. A need larger than the whole amount is cut to it."""

    def __init__(self, amounts: Mapping[str, int]) -> None:
        self._total = dict(amounts)
        self._free = dict(amounts)
        self._waiting: list[tuple[float, int, dict[str, int], asyncio.Future[None]]] = []
        self._count = 0

    @asynccontextmanager
    async def hold(self, needs: Mapping[str, int], priority: float) -> AsyncIterator[None]:
        """Wait until all ``needs`` are free together, and hold them; larger priorities are served first.

        Raises:
            KeyError: there is no such resource.
        """
        wanted = {name: min(amount, self._total[name]) for name, amount in needs.items() if amount > 0}
        if not self._waiting and self._fits(wanted):
            self._take(wanted)
        else:
            await self._queue(wanted, priority)
        try:
            yield
        finally:
            for name, amount in wanted.items():
                self._free[name] += amount
            self._serve()

    async def _queue(self, wanted: dict[str, int], priority: float) -> None:
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._waiting, (-priority, self._count, wanted, granted))
        self._serve()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                for name, amount in wanted.items():
                    self._free[name] += amount
            granted.cancel()
            self._serve()
            raise

    def _fits(self, wanted: Mapping[str, int]) -> bool:
        return all(self._free[name] >= amount for name, amount in wanted.items())

    def _take(self, wanted: Mapping[str, int]) -> None:
        for name, amount in wanted.items():
            self._free[name] -= amount

    def _serve(self) -> None:
        kept = []
        while self._waiting:
            item = heapq.heappop(self._waiting)
            _, _, wanted, granted = item
            if granted.cancelled():
                continue
            if self._fits(wanted):
                self._take(wanted)
                granted.set_result(None)
            else:
                kept.append(item)
        for item in kept:
            heapq.heappush(self._waiting, item)
