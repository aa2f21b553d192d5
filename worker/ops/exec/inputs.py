# SPDX-License-Identifier: Apache-2.0
"""Convert solver results to directories that a container can mount."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Protocol, runtime_checkable

from llbkit.worker.base import SCRATCH, ActiveSnapshot, CancelToken, Snapshot, Snapshotter, StatusReport

Ensure = Callable[[Snapshot, CancelToken, StatusReport], None]
"""Fetches and unpacks the layers of a snapshot, if they are not yet there."""


@runtime_checkable
class Mountable(Protocol):
    """A result that is not a snapshot but can show itself, such as a directory of the client."""

    def mountable(self) -> AbstractContextManager[Path]:
        """Show the tree read-only."""

    def materialize(self) -> Snapshot:
        """Make a snapshot of the tree."""


class Inputs:
    """Opens results as directories on behalf of one running step; everything opened is on ``stack``."""

    def __init__(
        self,
        snapshotter: Snapshotter,
        ensure: Ensure,
        stack: ExitStack,
        *,
        cancel: CancelToken,
        report: StatusReport,
    ) -> None:
        self._snapshotter = snapshotter
        self._ensure = ensure
        self._stack = stack
        self._cancel = cancel
        self._report = report

    def view(self, result: object) -> Path:
        """Return a directory that shows ``result`` (None: nothing) read-only."""
        if isinstance(result, Mountable) and not isinstance(result, Snapshot):
            return self._stack.enter_context(result.mountable())
        return self._stack.enter_context(self._snapshotter.view(self._unpacked(result)))

    def prepare(self, result: object) -> ActiveSnapshot:
        """Return a writable file system that starts as ``result`` (None: empty)."""
        return self._stack.enter_context(self._snapshotter.prepare(self._unpacked(result)))

    def _unpacked(self, result: object) -> Snapshot:
        snapshot = as_snapshot(result)
        self._ensure(snapshot, self._cancel, self._report)
        return snapshot


def as_snapshot(result: object) -> Snapshot:
    """Return ``result`` as a snapshot; None is scratch.

    Raises:
        TypeError: not a result of a worker.
    """
    match result:
        case None:
            return SCRATCH
        case Snapshot():
            return result
        case Mountable():
            return result.materialize()
        case _:
            raise TypeError(f"not a worker result: {type(result).__name__}")
