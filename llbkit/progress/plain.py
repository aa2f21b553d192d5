# SPDX-License-Identifier: Apache-2.0
"""Plain text, one line at a time, for logs: steps numbered in the order they are first shown."""

from __future__ import annotations

import threading
from typing import TextIO

from llbkit.progress.display import Display
from llbkit.progress.model import BuildView, StepView, amount, brief
from llbkit.progress.terminal import one_line
from llbkit.solver.events import Event, VertexCompleted, VertexLog, VertexStarted, VertexStatus, VertexWarning

_TURN = 5.0  # seconds a step may keep the display while others have output


class PlainDisplay(Display):
    """Shows one step at a time, so that output of parallel steps stays readable.

    The step being shown keeps the display until it ends or `_TURN` seconds have passed; lines of the others wait.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._view = BuildView()
        self._lock = threading.Lock()
        self._pending: dict[str, list[str]] = {}
        self._active: StepView | None = None
        self._since = 0.0
        self._number = 0
        self._closed = False
        self._last_percent: dict[tuple[str, str], float] = {}

    def __call__(self, event: Event) -> None:
        """Take in one event and print what is due."""
        with self._lock:
            step = self._view.apply(event)
            lines = self._lines(step, event)
            if lines:
                self._pending.setdefault(step.digest, []).extend(lines)
                self._drain(getattr(event, "time", 0.0))

    def close(self) -> None:
        """Print every line that still waits."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            while self._pending:
                self._switch(next(iter(self._pending)), 0.0)
                self._flush()
            self._stream.flush()

    def _lines(self, step: StepView, event: Event) -> list[str]:
        match event:
            case VertexStarted():
                return [""]
            case VertexLog():
                offset = event.time - step.started if step.started is not None else 0.0
                return [f"{offset:.3f} {line}" for line in step.take_lines(event.data)]
            case VertexStatus():
                return self._status(step, event)
            case VertexWarning():
                return [f"WARN: {event.short}"]
            case VertexCompleted():
                lines = [f"... {line}" for line in step.rest_line()]
                outcome = step.outcome()
                if outcome == "DONE":
                    return [*lines, f"DONE {step.spent:.1f}s"]
                return [*lines, f"ERROR: {brief(step.error)}" if outcome == "ERROR" else outcome]
            case _:
                return []

    def _status(self, step: StepView, event: VertexStatus) -> list[str]:
        key = (step.digest, event.id)
        done = event.completed is not None
        percent = 100.0 * event.current / event.total if event.total else 0.0
        if not done and key in self._last_percent and percent - self._last_percent[key] < 20:
            return []
        self._last_percent[key] = percent
        sizes = ""
        if event.total:
            sizes = f" {amount(event.current)} / {amount(event.total)}"
        elif event.current:
            sizes = f" {amount(event.current)}"
        return [f"{_label(event)}{sizes}{' done' if done else ''}"]

    def _drain(self, now: float) -> None:
        if self._active is None or (self._active.done and self._active.digest not in self._pending):
            self._switch(next(iter(self._pending)), now)
        elif now - self._since > _TURN and (others := [d for d in self._pending if d != self._active.digest]):
            self._flush()
            self._switch(others[0], now)
        self._flush()
        while self._active is not None and self._active.done and self._pending:
            self._switch(next(iter(self._pending)), now)
            self._flush()

    def _switch(self, digest: str, now: float) -> None:
        if self._active is not None and self._active.digest != digest:
            if not self._active.done:
                self._print(f"#{self._active.number} ...")
            self._print("")
        step = self._view.steps[digest]
        fresh = self._active is None or self._active.digest != digest
        self._active, self._since = step, now
        if step.number == 0:
            self._number += 1
            step.number = self._number
        if fresh:
            self._print(f"#{step.number} {step.name}")

    def _flush(self) -> None:
        step = self._active
        if step is None:
            return
        for line in self._pending.pop(step.digest, ()):
            if line:
                self._print(f"#{step.number} {line}")

    def _print(self, line: str) -> None:
        self._stream.write(one_line(line) + "\n")


def _label(event: VertexStatus) -> str:
    """Return a status line's text: what is done, and to what if its name does not say so already."""
    if not event.name or event.id.startswith(event.name):
        return event.id
    subject = event.id.removeprefix("sha256:")
    return event.name if subject[:12] in event.name else f"{event.name} {event.id}"
