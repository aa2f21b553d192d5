# SPDX-License-Identifier: Apache-2.0
"""The state of a build, derived from its events; the input of every display."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import field

from llbkit.records import dataclass
from llbkit.solver.events import (
    Event,
    VertexAdded,
    VertexCompleted,
    VertexLog,
    VertexStarted,
    VertexStatus,
    VertexWarning,
)

CANCELED = "context canceled"
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_LONGEST = 1 << 16
"""Bytes of a line that are kept waiting for its end."""


@dataclass(slots=True)
class StepView:
    """One vertex as a user sees it. Times are seconds since 1970; ``spent`` sums finished phases."""

    digest: str
    name: str
    number: int = 0
    started: float | None = None
    completed: float | None = None
    spent: float = 0.0
    cached: bool = False
    error: str = ""
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=10))
    partial: bytes = b""
    statuses: dict[str, VertexStatus] = field(default_factory=dict)
    warnings: list[VertexWarning] = field(default_factory=list)

    @property
    def running(self) -> bool:
        """Whether work on it goes on."""
        return self.started is not None and self.completed is None

    @property
    def done(self) -> bool:
        """Whether it has ended, in whichever way."""
        return self.completed is not None

    def elapsed(self, now: float) -> float:
        """Return the seconds worked on it so far."""
        return self.spent + (now - self.started if self.running and self.started is not None else 0.0)

    def outcome(self) -> str:
        """Return ``DONE``, ``CACHED``, ``CANCELED`` or ``ERROR`` for an ended step."""
        if self.error == CANCELED:
            return "CANCELED"
        if self.error:
            return "ERROR"
        return "CACHED" if self.cached else "DONE"

    def take_lines(self, data: bytes) -> list[str]:
        """Add output and return the lines it completes, control sequences made harmless.

        A line that never ends is cut, so that the cost of output does not grow with its square.
        """
        *lines, self.partial = (self.partial + data).split(b"\n")
        if len(self.partial) > _LONGEST:
            end = _whole_characters(self.partial)
            lines.append(self.partial[:end])
            self.partial = self.partial[end:]
        texts = [printable(line) for line in lines]
        self.tail.extend(texts)
        return texts

    def rest_line(self) -> list[str]:
        """Return the unfinished last line, if there is one, and forget it."""
        if not self.partial:
            return []
        text, self.partial = printable(self.partial), b""
        self.tail.append(text)
        return [text]


class BuildView:
    """All steps of a build, in the order they were first seen."""

    def __init__(self) -> None:
        self.steps: dict[str, StepView] = {}
        self.began: float | None = None

    def apply(self, event: Event) -> StepView:
        """Take in one event and return the step it is about."""
        step = self.steps.get(event.digest)
        if step is None:
            step = self.steps[event.digest] = StepView(event.digest, event.digest[:19])
        match event:
            case VertexAdded():
                step.name = event.name or step.name
            case VertexStarted():
                self.began = event.time if self.began is None else self.began
                step.started, step.completed, step.error = event.time, None, ""
            case VertexCompleted():
                if step.started is not None and not step.done:
                    step.spent += max(0.0, event.time - step.started)
                step.started = event.time if step.started is None else step.started
                step.completed, step.cached, step.error = event.time, event.cached, event.error
            case VertexStatus():
                step.statuses[event.id] = event
            case VertexWarning():
                step.warnings.append(event)
            case VertexLog():
                pass
        return step


def _whole_characters(data: bytes) -> int:
    """Return where the last character of UTF-8 text begins if it is not finished, else the end."""
    for back in range(1, min(4, len(data)) + 1):
        lead = data[-back]
        if lead & 0xC0 != 0x80:
            needed = 4 if lead >= 0xF0 else 3 if lead >= 0xE0 else 2 if lead >= 0xC0 else 1
            return len(data) - back if needed > back else len(data)
    return len(data)


def printable(line: bytes) -> str:
    """Return a line of process output as text: what follows the last carriage return, without escape sequences."""
    text = line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace")
    if text.isprintable():
        return text
    text = _ESCAPES.sub("", text)
    return "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def amount(size: float) -> str:
    """Return a number of bytes in decimal units, as ``1.23MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f}{unit}" if unit == "B" else f"{size:.2f}{unit}"
        size /= 1000
    return f"{size:.2f}TB"


_PROCESS = re.compile(r'process ".*" did not complete successfully: ', re.DOTALL)


def brief(error: str) -> str:
    """Return a step's error without the command, which the step's name holds already."""
    return _PROCESS.sub("", error, count=1)
