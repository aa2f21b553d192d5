# SPDX-License-Identifier: Apache-2.0
"""Snapshots as overlay mounts, made by system calls in the pools' private mount namespace."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llbkit.worker.base import Snapshot, StorageError
from llbkit.worker.fs.descent import remove_tree
from llbkit.worker.host.pools import private_mounts
from llbkit.worker.host.syscalls import mount_overlay, unmount
from llbkit.worker.snapshot.layers import LayerStore
from llbkit.worker.snapshot.overlayfs import is_whiteout
from llbkit.worker.snapshot.unchanged import drop_unchanged
from llbkit.worker.state.directory import StateDir, disk_errors, storage_errors


class OverlaySnapshotter:
    """A `llbkit.worker.base.Snapshotter` on overlayfs. Its calls run on threads of `llbkit.worker.host.pools.Pools`."""

    name = "overlay"

    def __init__(self, state: StateDir, layers: LayerStore) -> None:
        self._state = state
        self._layers = layers

    @contextmanager
    def view(self, snapshot: Snapshot) -> Iterator[Path]:
        """Show a snapshot read-only. One layer is shown as it is: callers do not write, and skip whiteouts."""
        lowers = self._layers.paths(snapshot)
        if len(lowers) == 1 and not has_marks(lowers[0]):
            yield lowers[0]
            return
        with scratch_folder(self._state) as folder:
            target = folder / "view"
            target.mkdir()
            if not lowers:
                yield target
                return
            empty = folder / "empty"
            empty.mkdir()
            # An overlay without upper needs two layers.
            _mount(target, lowers if len(lowers) > 1 else [empty, *lowers])
            try:
                yield target
            finally:
                unmount(target)

    @contextmanager
    def prepare(self, snapshot: Snapshot) -> Iterator[_Active]:
        """Make a writable filesystem on top of a snapshot."""
        with disk_errors(self._state.root), scratch_folder(self._state) as folder:
            active = _Active(self._layers, snapshot, folder)
            try:
                yield active
            finally:
                active.leave()


class _Active:
    """A `llbkit.worker.base.ActiveSnapshot`. Without layers below it is a plain directory."""

    def __init__(self, layers: LayerStore, below: Snapshot, folder: Path) -> None:
        self._layers = layers
        self._below = below
        self._upper = folder / "upper"
        make_root(self._upper, layers.path(below.layers[-1]) if below.layers else None)
        self._mounted = False
        self.path = self._upper
        if below.layers:
            self.path = folder / "root"
            self.path.mkdir()
            work = folder / "work"
            work.mkdir()
            _mount(self.path, layers.paths(below), self._upper, work)
            self._mounted = True

    def commit(self, description: str = "") -> Snapshot:
        """Make the changes a layer and return the grown stack."""
        self.leave()
        if self._below.layers:
            drop_unchanged(self._upper, self._layers.paths(self._below)[::-1])
        layer = self._layers.adopt(self._upper, description)
        return Snapshot((*self._below.layers, layer))

    def leave(self) -> None:
        """Unmount; idempotent."""
        if self._mounted:
            unmount(self.path)
            self._mounted = False


def _mount(target: Path, lowers: list[Path], upper: Path | None = None, work: Path | None = None) -> None:
    try:
        mount_overlay(target, lowers, upper, work)
    except OSError as error:
        if error.errno != errno.E2BIG:
            raise
        raise StorageError(
            f"{len(lowers)} layers exceed the limit of overlayfs",
            help='combine some steps, or set snapshotter = "native" in the configuration',
        ) from error


@contextmanager
def scratch_folder(state: StateDir) -> Iterator[Path]:
    """Make a working directory, removed at the end."""
    folder = state.work / secrets.token_hex(6)
    with storage_errors(state.root):
        folder.mkdir()
    try:
        yield folder
    finally:
        remove_tree(folder)


def make_root(path: Path, below: Path | None) -> None:
    """Make a layer's directory. It would replace the root below, so it has the attributes of that."""
    path.mkdir()
    path.chmod(0o755)
    if below is not None:
        status = os.stat(below)
        os.chown(path, status.st_uid, status.st_gid)
        shutil.copymode(below, path)
        os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))


def has_marks(layer: Path) -> bool:
    """Return whether a bottom layer's first level holds whiteouts, which a plain directory shows as devices."""
    with os.scandir(layer) as entries:
        return any(is_whiteout(entry.stat(follow_symlinks=False)) for entry in entries)


def why_not(state: StateDir) -> str:
    """Try an overlay in the state directory, in a mount namespace of its own; return what is wrong, "" if nothing."""
    outcome: list[str] = []

    def attempt() -> None:
        try:
            with scratch_folder(state) as folder:
                private_mounts()
                outcome.append(_attempt(folder))
        except OSError as error:
            outcome.append(f"{error.filename or 'overlay'}: {error.strerror}")

    thread = threading.Thread(target=attempt, name="llbkit-probe")
    thread.start()
    thread.join()
    return outcome[0]


def _attempt(folder: Path) -> str:
    lower, upper, work, root = (folder / name for name in ("lower", "upper", "work", "root"))
    for path in (lower, upper, work, root):
        path.mkdir()
    (lower / "file").touch()
    mount_overlay(root, [lower], upper, work)
    try:
        (root / "file").unlink()
    finally:
        unmount(root)
    status = os.lstat(upper / "file")
    return "" if stat.S_ISCHR(status.st_mode) else "deletions are not kept"
