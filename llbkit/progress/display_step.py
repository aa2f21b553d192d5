# SPDX-License-Identifier: Apache-2.0
"""Work outside the graph, such as an export, shown as a step of its own in the progress display."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from llbkit.solver.clock import SystemClock
from llbkit.solver.events import Progress
from llbkit.solver.reporting import Reporter, StepReporter
from llbkit.worker.base import StatusReport

T = TypeVar("T")


def digest_of(key: str) -> str:
    """Return what a step outside the graph has for a digest; ``key`` tells steps of one build apart."""
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


async def as_display_step(
    key: str,
    title: str,
    progress: Progress,
    work: Callable[[StatusReport], Awaitable[T]],
    *,
    warnings: Sequence[str] = (),
) -> T:
    """Await ``work(report)`` and show it under ``title`` with ``warnings``; ``key`` tells steps of one build apart.

    ``report`` may be called from any thread; ``progress`` is called on this one.

    Raises:
        Exception: what ``work`` raised, or ``progress``, which cancels the work.
    """
    reporter = Reporter(progress)
    reporter.bind()
    step = StepReporter(digest_of(key), reporter.emit, SystemClock())
    async with reporter.interruptible():
        step.added(title)
        step.started()
        for warning in warnings:
            step.warned(warning)
        error = ""
        try:
            return await work(step.status)
        except BaseException as failure:
            error = str(failure) or "context canceled"
            raise
        finally:
            step.completed(error=error)
