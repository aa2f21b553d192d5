# SPDX-License-Identifier: Apache-2.0
"""Progress events of a solve, as frozen values that map one to one to BuildKit's status stream.

Times are seconds since 1970 as floats, taken from the solver's `Clock`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from llbkit.grammar import Span
from llbkit.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexAdded:
    """A vertex entered the build; it may never start. ``inputs`` are digests."""

    digest: str
    name: str
    inputs: tuple[str, ...]
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexStarted:
    """Work on a vertex began. A vertex may start twice: for its key, then to be executed."""

    digest: str
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexCompleted:
    """Work on a vertex ended: from the cache, with an error text, or by executing it."""

    digest: str
    time: float
    cached: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexStatus:
    """Sub-progress inside a vertex, such as one layer's download (``current`` and ``total`` in bytes)."""

    id: str
    digest: str
    name: str
    current: int
    total: int
    time: float
    started: float | None = None
    completed: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexLog:
    """Process output; ``stream`` 1 is stdout, 2 stderr."""

    digest: str
    stream: int
    data: bytes
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexWarning:
    """A warning attached to a vertex, such as a build check's."""

    digest: str
    short: str
    level: int = 1
    detail: tuple[str, ...] = ()
    url: str = ""
    spans: tuple[Span, ...] = ()


Event: TypeAlias = VertexAdded | VertexStarted | VertexCompleted | VertexStatus | VertexLog | VertexWarning
Progress: TypeAlias = Callable[[Event], None]
"""Receives every event of a job, in order, on the thread of its event loop. Must not block and must not raise."""


def discard(event: Event) -> None:
    """Ignore an event: the default sink."""
