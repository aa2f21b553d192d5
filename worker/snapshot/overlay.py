# SPDX-License-Identifier: Apache-2.0
"""Snapshots as overlay mounts, made by system calls in the pools' private mount namespace."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.base import Snapshot
from worker.snapshot.layers import LayerStore
from worker.statedir import StateDir, remove_tree, storage_errors
from worker.syscalls import mount_overlay, unmount


class OverlaySnapshotter:
    """A `worker.base.Snapshotter` on overlayfs. Its calls run on threads of `worker.pools.Pools`."""

    name = "overlay"

    def __init__(self, state: StateDir, layers: LayerStore) -> None:
        self._state = state
        self._layers = layers

    @contextmanager
    def view(self, snapshot: Snapshot) -> Iterator[Path]:
        """Show a snapshot read-only. One layer is shown as it is: callers do not write, and skip whiteouts."""
        lowers = [self._layers.path(layer) for layer in snapshot.layers]
        if len(lowers) == 1 and not _has_marks(lowers[0]):
            yield lowers[0]
            return
        with self._scratch() as folder:
            target = folder / "view"
            target.mkdir()
            if not lowers:
                yield target
                return
            empty = folder / "empty"
            empty.mkdir()
            # An overlay without upper needs two layers.
            mount_overlay(target, lowers if len(lowers) > 1 else [empty, *lowers])
            try:
                yield target
            finally:
                unmount(target)

    @contextmanager
    def prepare(self, snapshot: Snapshot) -> Iterator[_Active]:
        """Make a writable filesystem on top of a snapshot."""
        with storage_errors(self._state.root), self._scratch() as folder:
            active = _Active(self._layers, snapshot, folder)
            try:
                yield active
            finally:
                active.leave()

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        folder = self._state.work / secrets.token_hex(6)
        folder.mkdir()
        try:
            yield folder
        finally:
            remove_tree(folder)


class _Active:
    """A `worker.base.ActiveSnapshot`. Without layers below it is a plain directory."""

    def __init__(self, layers: LayerStore, below: Snapshot, folder: Path) -> None:
        self._layers = layers
        self._below = below
        self._upper = folder / "upper"
        self._upper.mkdir()
        self._mounted = False
        self.path = self._upper
        if below.layers:
            lowers = [layers.path(layer) for layer in below.layers]
            self.path = folder / "root"
            self.path.mkdir()
            work = folder / "work"
            work.mkdir()
            _same_root(lowers[-1], self._upper)
            mount_overlay(self.path, lowers, self._upper, work)
            self._mounted = True

    def commit(self, description: str = "") -> Snapshot:
        """Make the changes a layer and return the grown stack."""
        self.leave()
        layer = self._layers.adopt(self._upper, description)
        return Snapshot((*self._below.layers, layer))

    def leave(self) -> None:
        """Unmount; idempotent."""
        if self._mounted:
            unmount(self.path)
            self._mounted = False


def _same_root(lower: Path, upper: Path) -> None:
    """Give the upper directory the attributes of the root below, which it would otherwise replace."""
    status = os.stat(lower)
    os.chown(upper, status.st_uid, status.st_gid)
    shutil.copymode(lower, upper)
    os.utime(upper, ns=(status.st_mtime_ns, status.st_mtime_ns))


def _has_marks(layer: Path) -> bool:
    """Tell whether a bottom layer's first level holds whiteouts, which only an overlay interprets."""
    with os.scandir(layer) as entries:
        return any(entry.stat(follow_symlinks=False).st_rdev == 0 and _is_device(entry) for entry in entries)


def _is_device(entry: os.DirEntry[str]) -> bool:
    import stat

    return stat.S_ISCHR(entry.stat(follow_symlinks=False).st_mode)
