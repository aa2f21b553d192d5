# SPDX-License-Identifier: Apache-2.0
"""Report what happens in a build: the events of a step, delivered from any thread to the build's sink.

Whatever is shown as a step reports through a `StepReporter`: a vertex of the graph, a question of a frontend, an export.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from llbkit.solver.events import (
    Event,
    Progress,
    VertexAdded,
    VertexCompleted,
    VertexLog,
    VertexStarted,
    VertexStatus,
    VertexWarning,
)
from llbkit.solver.ports import Clock


class Reporter:
    """Takes events from any thread and hands them to ``sink`` on the loop's thread.

    What a thread reports before its work ends is handed over before whoever awaits that work goes on. Events of a busy
    thread travel in batches: a hundred thousand log lines a second wake the loop far less often.

    A sink that raises is not asked again. Whoever reports goes on undisturbed; what runs `interruptible` is cancelled and
    raises the sink's error.
    """

    def __init__(self, sink: Progress) -> None:
        self._sink = sink
        self._queue: deque[Event] = deque()
        self._woken = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.get_ident()
        self._interruptible: set[asyncio.Task[object]] = set()
        self.failure: Exception | None = None

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
            event = self._queue.popleft()
            if self.failure is not None:
                continue
            try:
                self._sink(event)
            except Exception as error:
                self.failure = error
                for task in self._interruptible:
                    task.cancel()

    @asynccontextmanager
    async def interruptible(self) -> AsyncIterator[None]:
        """While the context lasts, a failure of the sink cancels what runs in it, and is raised at its end."""
        task = asyncio.current_task()
        assert task is not None, "must run inside a task"
        first = task not in self._interruptible
        self._interruptible.add(task)
        try:
            self.check()
            yield
        except asyncio.CancelledError:
            if self.failure is None or not first or task.uncancel():
                raise  # not ours alone: somebody else cancelled too
            raise self.failure from None
        finally:
            if first:
                self._interruptible.discard(task)
        self.check()

    def check(self) -> None:
        """Raise what the sink raised, if it did."""
        if self.failure is not None:
            raise self.failure


class StepReporter:
    """Makes the events of the step ``digest`` and hands them to ``emit``. As thread-safe as ``emit`` is."""

    def __init__(self, digest: str, emit: Progress, clock: Clock) -> None:
        self._digest, self._emit, self._clock = digest, emit, clock
        self._began: dict[str, float] = {}

    def added(self, name: str, inputs: Sequence[str] = (), group: str = "") -> None:
        """Report that the step is part of the build, under this name; ``inputs`` are digests of steps."""
        self._emit(VertexAdded(digest=self._digest, name=name, inputs=tuple(inputs), group=group))

    def started(self) -> None:
        """Report that work on the step began."""
        self._emit(VertexStarted(digest=self._digest, time=self._clock.time()))

    def completed(self, *, error: str = "") -> None:
        """Report that work on the step ended."""
        self._emit(VertexCompleted(digest=self._digest, time=self._clock.time(), error=error))

    def cached(self, now: float) -> None:
        """Report that the step was found in the cache at the time ``now``."""
        self._emit(VertexStarted(digest=self._digest, time=now))
        self._emit(VertexCompleted(digest=self._digest, time=now, cached=True))

    def warned(self, text: str) -> None:
        """Report a warning beside the step."""
        self._emit(VertexWarning(digest=self._digest, short=text))

    def log(self, stream: int, data: bytes) -> None:
        """Report process output (1 stdout, 2 stderr)."""
        self._emit(VertexLog(digest=self._digest, stream=stream, data=data, time=self._clock.time()))

    def status(self, id: str, name: str, current: int, total: int, done: bool = False) -> None:  # noqa: A002
        """Report sub-progress; the first report of an ``id`` is its start."""
        now = self._clock.time()
        self._emit(
            VertexStatus(
                id=id,
                digest=self._digest,
                name=name,
                current=current,
                total=total,
                time=now,
                started=self._began.setdefault(id, now),
                completed=now if done else None,
            )
        )
