# SPDX-License-Identifier: Apache-2.0
"""Snapshots as plain directories, for hosts on which overlayfs does not work.

Layers have the same format as with overlay mounts. A view is put together from hard links to the layers' files, a writable
filesystem from copies (shared blocks where the filesystem can). What changed in it is found by comparing with what was
noted of every file at the start: inode number and change time betray every change, whoever made it. Cost: the size of
the filesystem, for every step.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from llbkit.worker.base import Snapshot
from llbkit.worker.fs.bytescopy import BytesCopier
from llbkit.worker.snapshot.layers import LayerStore
from llbkit.worker.snapshot.overlay import has_marks, make_root, scratch_folder
from llbkit.worker.snapshot.overlayfs import is_opaque, is_whiteout, make_whiteout
from llbkit.worker.snapshot.unchanged import drop_unchanged
from llbkit.worker.state.directory import StateDir, disk_errors

_FILE_CLOCK = 5  # CLOCK_REALTIME_COARSE, which file times are taken from


class NativeSnapshotter:
    """A `llbkit.worker.base.Snapshotter` that copies. It needs no mounts."""

    name = "native"

    def __init__(self, state: StateDir, layers: LayerStore) -> None:
        self._state = state
        self._layers = layers

    @contextmanager
    def view(self, snapshot: Snapshot) -> Iterator[Path]:
        """Show a snapshot. It must not be written: the files belong to the layers."""
        layers = self._layers.paths(snapshot)
        if len(layers) == 1 and not has_marks(layers[0]):
            yield layers[0]
            return
        with disk_errors(self._state.root), scratch_folder(self._state) as folder:
            target = folder / "view"
            target.mkdir()
            if layers:
                _put_together(layers, target, _link)
            yield target

    @contextmanager
    def prepare(self, snapshot: Snapshot) -> Iterator[_Active]:
        """Make a writable filesystem on top of a snapshot."""
        with disk_errors(self._state.root), scratch_folder(self._state) as folder:
            yield _Active(self._layers, snapshot, folder)


class _Active:
    """A `llbkit.worker.base.ActiveSnapshot`."""

    def __init__(self, layers: LayerStore, below: Snapshot, folder: Path) -> None:
        self._layers = layers
        self._below = below
        self._upper = folder / "upper"
        self.path = folder / "root"
        make_root(self.path, layers.path(below.layers[-1]) if below.layers else None)
        self._before: dict[str, _State] = {}
        if below.layers:
            _put_together(layers.paths(below), self.path, _copying())
            self._before = _scan(self.path)
            _let_the_clock_tick()

    def commit(self, description: str = "") -> Snapshot:
        """Make the changes a layer and return the grown stack."""
        directory = self.path
        if self._below.layers:
            directory = self._upper
            _Changes(self.path, self._before, directory).move()
            drop_unchanged(directory, self._layers.paths(self._below)[::-1])
        return Snapshot((*self._below.layers, self._layers.adopt(directory, description)))


def copy_tree(source: Path, target: Path) -> None:
    """Copy everything in a directory, and its own attributes, to one that is empty; hard links stay hard links.

    Raises:
        OSError: the disk is full, or ``target`` is not empty.
    """
    _put_together([source], target, _copying())


# -- layers into a directory

_Transfer = Callable[[str, os.stat_result, str], None]


class _Choice(NamedTuple):
    """An entry of a merged directory: where it is, and the directories of its name in the layers, topmost first."""

    full: str
    status: os.stat_result
    directories: list[str]


def _put_together(layers: list[Path], target: Path, transfer: _Transfer) -> None:
    """Fill a directory with what a stack of layers, bottom first, shows."""
    made: dict[tuple[int, int], str] = {}
    folders: list[tuple[str, str, os.stat_result]] = []
    top = os.fspath(layers[-1])
    pending = [(os.fspath(target), [os.fspath(layer) for layer in reversed(layers)])]
    folders.append((top, os.fspath(target), os.lstat(top)))
    while pending:
        folder, sources = pending.pop()
        for name, choice in _merged(sources).items():
            full = f"{folder}/{name}"
            if stat.S_ISDIR(choice.status.st_mode):
                os.mkdir(full)
                folders.append((choice.full, full, choice.status))
                pending.append((full, choice.directories))
                continue
            key = (choice.status.st_dev, choice.status.st_ino)
            if choice.status.st_nlink > 1 and key in made:
                os.link(made[key], full, follow_symlinks=False)
                continue
            made[key] = full
            transfer(choice.full, choice.status, full)
    for source, full, status in reversed(folders):
        _copy_attributes(source, status, full)


def _merged(sources: list[str]) -> dict[str, _Choice]:
    """Return what a directory shows that has these directories in the layers, topmost first."""
    found: dict[str, _Choice] = {}
    closed: set[str] = set()
    for source in sources:
        with os.scandir(source) as entries:
            for entry in entries:
                name, status = entry.name, entry.stat(follow_symlinks=False)
                is_folder = stat.S_ISDIR(status.st_mode)
                if name not in closed:
                    if name in found:
                        if is_folder:
                            found[name].directories.append(entry.path)
                    elif not is_whiteout(status):
                        found[name] = _Choice(entry.path, status, [entry.path] if is_folder else [])
                if not is_folder:
                    closed.add(name)
        if is_opaque(source):
            break
    return found


def _link(source: str, status: os.stat_result, target: str) -> None:
    os.link(source, target, follow_symlinks=False)


def _copying() -> _Transfer:
    """Return a transfer that remembers how the file systems copy."""
    copier = BytesCopier()

    def copy(source: str, status: os.stat_result, target: str) -> None:
        if stat.S_ISREG(status.st_mode):
            with open(source, "rb", buffering=0) as reader, open(target, "xb", buffering=0) as writer:
                copier.copy(reader.fileno(), writer.fileno(), status)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(source), target)
        else:
            os.mknod(target, status.st_mode, status.st_rdev)
        _copy_attributes(source, status, target)

    return copy


def _copy_attributes(source: str, status: os.stat_result, target: str) -> None:
    os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    for name, value in _xattrs(source).items():
        os.setxattr(target, name, value, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns), follow_symlinks=False)


def _xattrs(path: str) -> dict[str, bytes]:
    return {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in os.listxattr(path, follow_symlinks=False)
        if ".overlay." not in name
    }


# -- changes into a layer


class _State(NamedTuple):
    """What is noted of a file. A directory's change time tells of its entries, so its attributes stand instead."""

    status: os.stat_result
    xattrs: dict[str, bytes]

    def same(self, other: _State) -> bool:
        mine, its = self.status, other.status
        if stat.S_ISDIR(mine.st_mode):
            return self.xattrs == other.xattrs and (
                (mine.st_mode, mine.st_uid, mine.st_gid, mine.st_mtime_ns)
                == (its.st_mode, its.st_uid, its.st_gid, its.st_mtime_ns)
            )
        return (mine.st_ino, mine.st_ctime_ns, mine.st_mode) == (its.st_ino, its.st_ctime_ns, its.st_mode)


def _scan(root: Path) -> dict[str, _State]:
    """Note every file below a directory, itself as "", directories before what is in them."""
    base = os.fspath(root)
    found = {"": _State(os.lstat(base), _xattrs(base))}
    pending = [""]
    while pending:
        folder = pending.pop()
        prefix = f"{folder}/" if folder else ""
        with os.scandir(f"{base}/{folder}") as entries:
            for entry in entries:
                path, status = prefix + entry.name, entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    found[path] = _State(status, _xattrs(entry.path))
                    pending.append(path)
                else:
                    found[path] = _State(status, {})
    return found


class _Changes:
    """Moves what changed in ``root`` since ``before`` into ``upper``, which becomes a layer."""

    def __init__(self, root: Path, before: dict[str, _State], upper: Path) -> None:
        self._root, self._upper = os.fspath(root), os.fspath(upper)
        self._before = before
        self._now = _scan(root)
        self._folders: dict[str, None] = {}

    def move(self) -> None:
        os.mkdir(f"{self._upper}/")
        self._folders[""] = None
        for path, state in self._now.items():
            old = self._before.get(path)
            if old is not None and old.same(state):
                continue
            if stat.S_ISDIR(state.status.st_mode):
                self._folder(path)
            else:
                self._folder(path.rpartition("/")[0])
                os.rename(f"{self._root}/{path}", f"{self._upper}/{path}")
        for path in self._before:
            if path not in self._now and self._is_folder(parent := path.rpartition("/")[0]):
                self._folder(parent)
                make_whiteout(f"{self._upper}/{path}")
        for path in reversed(self._folders):
            _copy_attributes(f"{self._root}/{path}", self._now[path].status, f"{self._upper}/{path}")

    def _is_folder(self, path: str) -> bool:
        """Return whether a directory was and is at ``path``."""
        return all(
            path in states and stat.S_ISDIR(states[path].status.st_mode)
            for states in (self._now, self._before)
        )

    def _folder(self, path: str) -> None:
        """Make a directory in the layer, its parents first."""
        missing = []
        while path not in self._folders:
            missing.append(path)
            path = path.rpartition("/")[0]
        for folder in reversed(missing):
            os.mkdir(f"{self._upper}/{folder}")
            self._folders[folder] = None


def _let_the_clock_tick() -> None:
    """Wait until the kernel's file times have moved on, so that a change cannot bear the time noted before it."""
    start = time.clock_gettime_ns(_FILE_CLOCK)
    while time.clock_gettime_ns(_FILE_CLOCK) <= start:
        time.sleep(0.001)
