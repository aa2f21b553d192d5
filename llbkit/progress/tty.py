# SPDX-License-Identifier: Apache-2.0
"""The live table on a terminal: finished steps collapse, running ones show their last output.

Rich is imported only when a build lasts long enough to be watched; a fully cached build prints its table once.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, TextIO

from llbkit.progress.display import Display
from llbkit.progress.model import BuildView, StepView, amount
from llbkit.progress.terminal import one_line
from llbkit.solver.events import Event, VertexLog

if TYPE_CHECKING:
    from rich.text import Text

_PATIENCE = 0.2  # seconds before the live table starts
_RATE = 0.12  # seconds between redraws
_STYLES = {"DONE": "blue", "CACHED": "cyan", "ERROR": "bold red", "CANCELED": "yellow"}


class TTYDisplay(Display):
    """A table that is redrawn while the build runs and left behind, whole, when it ends."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._view = BuildView()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._log_rows = int(os.environ.get("BUILDKIT_TTY_LOG_LINES") or 6)
        self._began = time.time()
        self._thread = threading.Thread(target=self._live, name="llbkit-display", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        """Take in one event; the next redraw shows it."""
        with self._lock:
            step = self._view.apply(event)
            if isinstance(event, VertexLog):
                step.take_lines(event.data)

    def close(self) -> None:
        """Stop redrawing and leave the whole table."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        color = "NO_COLOR" not in os.environ
        with self._lock:
            for line, style in self._rows(time.time(), height=None):
                self._stream.write(_paint(line, style) if color else line)
                self._stream.write("\n")
        self._stream.flush()

    def _live(self) -> None:
        if self._stop.wait(_PATIENCE):
            return
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._stream, highlight=False)
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while not self._stop.wait(_RATE):
                with self._lock:
                    table = self._table(console.size.height - 1)
                live.update(table, refresh=True)

    def _table(self, height: int) -> Text:
        from rich.text import Text

        table = Text(no_wrap=True, overflow="ellipsis")
        for index, (line, style) in enumerate(self._rows(time.time(), height)):
            table.append(("\n" if index else "") + line, style=style)
        return table

    def _rows(self, now: float, height: int | None) -> list[tuple[str, str]]:
        shown = [step for step in self._view.steps.values() if step.started is not None]
        done = sum(step.done for step in shown)
        width = min(_columns(self._stream), 160)
        title = f"[+] Building {now - self._began:.1f}s ({done}/{len(self._view.steps)})"
        head = [(title + (f" {self._outcome()}" if self._stop.is_set() else ""), "bold")]
        rows: list[tuple[str, str]] = []
        for step in shown:
            rows += self._step_rows(step, now, width, live=height is not None)
        if height is not None and len(rows) > height - 1:
            # What runs matters most; the oldest finished steps leave first.
            running = [
                row for step in shown if step.running for row in self._step_rows(step, now, width, live=True)
            ]
            ended = [
                row for step in shown if step.done for row in self._step_rows(step, now, width, live=True)
            ]
            room = max(0, height - 1 - len(running))
            rows = (ended[-room:] if room else []) + running[: height - 1]
        return head + rows

    def _outcome(self) -> str:
        outcomes = {step.outcome() for step in self._view.steps.values() if step.done}
        if "ERROR" in outcomes:
            return "FAILED"
        unfinished = any(step.running for step in self._view.steps.values())
        return "CANCELED" if unfinished or "CANCELED" in outcomes else "FINISHED"

    def _step_rows(self, step: StepView, now: float, width: int, *, live: bool) -> list[tuple[str, str]]:
        prefix = f" => {'CACHED ' if step.cached else ''}{'ERROR ' if step.outcome() == 'ERROR' and step.done else ''}"
        style = _STYLES[step.outcome()] if step.done else ""
        rows = [(_columns_of(prefix + one_line(step.name), f"{step.elapsed(now):.1f}s", width), style)]
        if step.running and live:
            for status in list(step.statuses.values())[-self._log_rows :]:
                if status.completed is None:
                    sizes = amount(status.current) + (f" / {amount(status.total)}" if status.total else "")
                    rows.append((f" => => {one_line(status.name or status.id)} {sizes}"[:width], ""))
            rows += [(f" => => # {line}"[:width], "dim") for line in list(step.tail)[-self._log_rows :]]
        return rows


def _columns(stream: TextIO) -> int:
    """Return the terminal's width; 80 if it says none, as the pseudo-terminals of CI services do."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _columns_of(left: str, right: str, width: int) -> str:
    room = max(0, width - len(right) - 2)
    if len(left) > room:
        left = left[: max(0, room - 1)] + "…"
    return f"{left:<{room}} {right}"


_CODES = {"bold": "1", "blue": "34", "cyan": "36", "yellow": "33", "bold red": "1;31"}


def _paint(line: str, style: str) -> str:
    return f"\x1b[{_CODES[style]}m{line}\x1b[0m" if style in _CODES else line
