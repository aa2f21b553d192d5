# SPDX-License-Identifier: Apache-2.0
"""From any thread to the job's sink: events arrive in order, one at a time, on the thread of the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

from solver.events import Event, Progress


class Reporter:
    """Takes events from any thread and hands them to ``sink`` on the loop's thread.

    What a thread reports before its work ends is handed over before whoever awaits that work goes on. Events of a busy
    thread travel in batches: a hundred thousand log lines a second wake the loop far less often.
    """

    def __init__(self, sink: Progress) -> None:
        self._sink = sink
        self._queue: deque[Event] = deque()
        self._woken = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.get_ident()

    def bind(self) -> None:
        """Make the running loop the one whose thread receives events."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def emit(self, event: Event) -> None:
        """Report an event."""
        self._queue.append(event)
        if threading.get_ident() == self._thread:
            self.drain()
        elif not self._woken and self._loop is not None:
            self._woken = True
            self._loop.call_soon_threadsafe(self.drain)

    def drain(self) -> None:
        """Hand over what has been reported; to be called on the loop's thread."""
        self._woken = False
        while self._queue:
            self._sink(self._queue.popleft())
