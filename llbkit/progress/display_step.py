# SPDX-License-Identifier: Apache-2.0
"""Work outside the graph, such as an export, shown as a step of its own in the progress display."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from llbkit.solver.events import (
    Progress,
    VertexAdded,
    VertexCompleted,
    VertexStarted,
    VertexStatus,
    VertexWarning,
)
from llbkit.worker.base import StatusReport

T = TypeVar("T")


async def as_display_step(
    key: str,
    title: str,
    progress: Progress,
    work: Callable[[StatusReport], Awaitable[T]],
    *,
    warnings: Sequence[str] = (),
) -> T:
    """Await ``work(report)`` and show it under ``title`` with ``warnings``; ``key`` tells steps of one build apart."""
    digest = "sha256:" + hashlib.sha256(key.encode()).hexdigest()
    progress(VertexAdded(digest=digest, name=title, inputs=()))
    progress(VertexStarted(digest=digest, time=time.time()))
    for warning in warnings:
        progress(VertexWarning(digest=digest, short=warning))
    error = ""
    try:
        return await work(_reporter(digest, progress))
    except BaseException as failure:
        error = str(failure) or "context canceled"
        raise
    finally:
        progress(VertexCompleted(digest=digest, time=time.time(), error=error))


def _reporter(digest: str, progress: Progress) -> StatusReport:
    began: dict[str, float] = {}

    def report(identity: str, name: str, current: int, total: int, done: bool) -> None:
        now = time.time()
        progress(
            VertexStatus(
                id=identity,
                digest=digest,
                name=name,
                current=current,
                total=total,
                time=now,
                started=began.setdefault(identity, now),
                completed=now if done else None,
            )
        )

    return report
