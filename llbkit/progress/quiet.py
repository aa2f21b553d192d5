# SPDX-License-Identifier: Apache-2.0
"""Nothing, unless a step fails: then the last that it printed."""

from __future__ import annotations

import threading
from typing import TextIO

from llbkit.progress.display import Display
from llbkit.progress.model import BuildView, failure_tail
from solver.events import Event, VertexCompleted, VertexLog


class QuietDisplay(Display):
    """Shows the last output of failed steps when the build has ended."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._view = BuildView()
        self._lock = threading.Lock()
        self._closed = False

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        with self._lock:
            step = self._view.apply(event)
            match event:
                case VertexLog():
                    step.take_lines(event.data)
                case VertexCompleted():
                    step.rest_line()

    def close(self) -> None:
        """Print the last output of failed steps."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for step in self._view.steps.values():
                for line in failure_tail(step):
                    print(line, file=self._stream)
            self._stream.flush()
