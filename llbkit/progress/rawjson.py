# SPDX-License-Identifier: Apache-2.0
"""BuildKit's raw JSON: one ``SolveStatus`` object a line."""

from __future__ import annotations

import base64
import json
import threading
from datetime import UTC, datetime
from typing import TextIO

from llbkit.progress.display import Display
from llbkit.progress.model import BuildView, StepView
from llbkit.solver.events import (
    Event,
    VertexAdded,
    VertexCompleted,
    VertexLog,
    VertexStarted,
    VertexStatus,
    VertexWarning,
)


class RawJSONDisplay(Display):
    """Writes each event as one line; keys and their omission as in BuildKit's client."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._view = BuildView()
        self._inputs: dict[str, tuple[str, ...]] = {}
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Write one event."""
        with self._lock:
            step = self._view.apply(event)
            self._stream.write(json.dumps(self._object(step, event), separators=(",", ":")) + "\n")
            self._stream.flush()

    def _object(self, step: StepView, event: Event) -> dict[str, object]:
        match event:
            case VertexAdded():
                self._inputs[event.digest] = event.inputs
                return {"vertexes": [self._vertex(step)]}
            case VertexStarted() | VertexCompleted():
                return {"vertexes": [self._vertex(step)]}
            case VertexStatus():
                return {"statuses": [_status(event)]}
            case VertexLog():
                data = base64.b64encode(event.data).decode()
                log = {
                    "vertex": event.digest,
                    "stream": event.stream,
                    "data": data,
                    "timestamp": _time(event.time),
                }
                return {"logs": [log]}
            case VertexWarning():
                return {"warnings": [_warning(event)]}

    def _vertex(self, step: StepView) -> dict[str, object]:
        out: dict[str, object] = {"digest": step.digest}
        if inputs := self._inputs.get(step.digest):
            out["inputs"] = list(inputs)
        out["name"] = step.name
        if step.started is not None:
            out["started"] = _time(step.started)
        if step.completed is not None:
            out["completed"] = _time(step.completed)
        if step.cached:
            out["cached"] = True
        if step.error:
            out["error"] = step.error
        return out


def _status(event: VertexStatus) -> dict[str, object]:
    out: dict[str, object] = {"id": event.id, "vertex": event.digest, "name": event.name}
    if event.total:
        out["total"] = event.total
    out |= {"current": event.current, "timestamp": _time(event.time)}
    if event.started is not None:
        out["started"] = _time(event.started)
    if event.completed is not None:
        out["completed"] = _time(event.completed)
    return out


def _warning(event: VertexWarning) -> dict[str, object]:
    out: dict[str, object] = {"vertex": event.digest, "level": event.level}
    out["short"] = base64.b64encode(event.short.encode()).decode()
    if event.detail:
        out["detail"] = [base64.b64encode(line.encode()).decode() for line in event.detail]
    if event.url:
        out["url"] = event.url
    if event.spans:
        source = event.spans[0].source
        data = base64.b64encode(source.data).decode()
        out["sourceInfo"] = {"filename": source.name, "data": data, "language": source.language}
        out["range"] = [
            {"start": {"line": span.start_line}, "end": {"line": span.end_line}} for span in event.spans
        ]
    return out


def _time(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(seconds % 1 * 1e9):09d}Z"
