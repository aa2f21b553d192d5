# SPDX-License-Identifier: Apache-2.0
"""Open filesystems as directories that a container can mount."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from llbkit.worker.base import ActiveSnapshot, CancelToken, Snapshotter, StatusReport
from llbkit.worker.results import Ensure, Filesystem, Views


class Inputs:
    """Opens inputs as directories on behalf of one running step; everything opened is on ``stack``."""

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
        self._views = Views(snapshotter, ensure)
        self._stack = stack
        self._cancel = cancel
        self._report = report

    def view(self, filesystem: Filesystem) -> Path:
        """Return a directory that shows ``filesystem`` read-only."""
        return self._stack.enter_context(self._views.directory(filesystem, self._cancel, self._report))

    def prepare(self, filesystem: Filesystem) -> ActiveSnapshot:
        """Return a writable file system that starts as ``filesystem``."""
        snapshot = self._views.unpacked(filesystem, self._cancel, self._report)
        return self._stack.enter_context(self._snapshotter.prepare(snapshot))
