# SPDX-License-Identifier: Apache-2.0
"""The outcome of each vertex, read from a build's recorded events (``--progress rawjson``, BuildKit's and ours)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from llbkit.progress.model import CANCELED
from llbkit.request.csvflags import FlagError

if TYPE_CHECKING:
    from llbkit.llb.draw.picture import Outcome, Result


def outcomes(lines: Iterable[str], name: str) -> list[Outcome]:
    """Return the outcome of every vertex that was worked on. Lines that are no JSON objects (a build's messages) are skipped.

    Raises:
        FlagError: there is no vertex in any of the lines; ``name`` is what was read.
    """
    from llbkit.llb.draw.picture import Outcome

    names: dict[str, str] = {}
    spans: dict[str, dict[str, str]] = {}
    ends: dict[str, dict[str, Any]] = {}
    for line in lines:
        for vertex in _vertices(line):
            digest = str(vertex.get("digest", ""))
            names[digest] = str(vertex.get("name", "")) or names.get(digest, "")
            if vertex.get("started"):
                # A vertex may be worked on twice, for its key and to be executed: each start has its end.
                spans.setdefault(digest, {})[str(vertex["started"])] = str(vertex.get("completed") or "")
                ends[digest] = vertex
    if not names:
        raise FlagError(
            f"no events in {name}", help="record events with: llbkit build --progress rawjson 2>FILE"
        )
    return [
        Outcome(
            digest=digest,
            name=names[digest],
            result=_result(ends[digest]),
            seconds=sum(_seconds(start, end) for start, end in spans[digest].items()),
        )
        for digest in ends
    ]


def _vertices(line: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(line)
    except ValueError:
        return []
    vertices = found.get("vertexes") if isinstance(found, dict) else None
    return [one for one in vertices if isinstance(one, dict)] if isinstance(vertices, list) else []


def _result(vertex: dict[str, Any]) -> Result:
    if error := vertex.get("error"):
        return "canceled" if str(error).endswith(CANCELED) else "failed"
    if vertex.get("cached"):
        return "cached"
    return "ran" if vertex.get("completed") else "canceled"


def _seconds(start: str, end: str) -> float:
    try:
        return max(0.0, (_moment(end) - _moment(start)).total_seconds()) if end else 0.0
    except ValueError:
        return 0.0


def _moment(text: str) -> datetime:
    """Read a time as Go writes it, with up to nine digits behind the point."""
    head, point, rest = text.removesuffix("Z").partition(".")
    digits = rest[:6].ljust(6, "0") if point else "000000"
    return datetime.fromisoformat(f"{head}.{digits}")
