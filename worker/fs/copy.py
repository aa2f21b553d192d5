# SPDX-License-Identifier: Apache-2.0
"""Copying selected nodes into a writable root, fast.

Directories first, then files on two threads, then hard links, then directories' metadata from the leaves up. A file's
content comes from memory if its digest was just computed, else by `llbkit.worker.fs.bytescopy`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

from llbkit.records import dataclass
from llbkit.worker.base import CancelToken, FileOpError
from llbkit.worker.fs.bytescopy import BytesCopier, write_all
from llbkit.worker.fs.modes import ModeChange
from llbkit.worker.fs.owners import Owner
from llbkit.worker.fs.select.selection import Pick
from llbkit.worker.fs.tree import Tree, join
from llbkit.worker.fs.writable import KEEP_TIME, WritableRoot
from llbkit.worker.host.parallel import in_threads, threads_for
from llbkit.worker.sources.statcache import identity

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyStyle:
    """What a copy changes: ``owner`` and ``mode`` None keep the source's, ``timestamp`` -1 keeps its times.

    ``replace`` removes what is in the way, whatever it is; else a directory in the way of a file, and a file in the
    way of a directory, are errors.
    """

    owner: Owner | None = None
    mode: ModeChange | None = None
    timestamp: int = KEEP_TIME
    replace: bool = False


class _Job(NamedTuple):
    pick: Pick
    target: str


def copy_picks(
    tree: Tree,
    picks: Sequence[Pick],
    root: WritableRoot,
    target: str,
    style: CopyStyle,
    token: CancelToken,
) -> None:
    """Copy the picks of one root to the link-free ``target``, whose parent exists.

    An existing directory keeps its owner and mode if it is the target itself; below it takes the source's. If it is there
    only for something below it, it takes the source's mode and keeps owner and times. What is made in a set-group-id
    directory does not take its group.

    Raises:
        FileOpError: something is in the way.
        OSError: a system call failed.
    """
    _Copier(tree, root, target, style, token).run(picks)


class _Copier:
    def __init__(
        self, tree: Tree, root: WritableRoot, target: str, style: CopyStyle, token: CancelToken
    ) -> None:
        self._tree, self._root, self._target = tree, root, target
        self._style, self._token = style, token
        self._bytes = BytesCopier(token.check)
        self._umask = current_umask()
        self._seen: dict[tuple[int, int], str] = {}
        self._links: list[tuple[str, str]] = []
        self._fresh: set[str] = set()
        self._inheriting: set[str] = set()
        """Directories whose group goes to what is made in them."""

    def run(self, picks: Sequence[Pick]) -> None:
        directories: list[_Job] = []
        files: list[_Job] = []
        parent = self._target.rpartition("/")[0]
        self._note_inheriting(parent, self._root.lstat(parent))
        for pick in picks:
            job = _Job(pick, join(self._target, pick.below))
            if pick.node.is_dir:
                if self._make_directory(job):
                    directories.append(job)
            elif not self._is_second_name(job):
                files.append(job)
        in_threads(self._make, files, threads=self._threads(files))
        for first, target in self._links:
            self._clear(target)
            os.link(self._root.full(first), self._root.full(target), follow_symlinks=False)
        for job in reversed(directories):
            self._finish(job, self._root.full(job.target))
        self._finish_target(picks[0])

    def _finish_target(self, first: Pick) -> None:
        """Give the target the time of the directory whose content it got; the root of a tree has none of its own."""
        if first.node.is_dir and not first.below and first.path:
            os.utime(self._root.full(self._target), ns=self._times(first.node.stat))

    def _threads(self, files: Sequence[_Job]) -> int:
        """Two where content is in memory: making files is mostly the kernel's work."""
        sample = files[:: max(1, len(files) // 16)]
        if sample and all(self._tree.kept(job.pick.path) is not None for job in sample):
            return 2
        return threads_for([job.pick.node.stat.st_size for job in files])

    def _make_directory(self, job: _Job) -> bool:
        """Create a directory, or accept one that exists; return whether it takes the source's metadata."""
        full = self._root.full(job.target)
        try:
            os.mkdir(full, 0o700)
        except FileExistsError:
            status = os.lstat(full)
            if stat.S_ISDIR(status.st_mode):
                if job.pick.implied and job.pick.below:
                    os.chmod(full, job.pick.node.stat.st_mode & 0o7777)
                self._note_inheriting(job.target, os.lstat(full) if job.pick.implied else status)
                return bool(job.pick.below) and not job.pick.implied
            if not self._style.replace:
                raise FileOpError(
                    f"cannot copy to non-directory: /{job.target}",
                    help="the destination exists and is not a directory; remove it first or copy to another path",
                ) from None
            os.unlink(full)
            os.mkdir(full, 0o700)
        self._fresh.add(job.target)
        if self._inherits(job.target):
            self._inheriting.add(job.target)
        return True

    def _note_inheriting(self, directory: str, status: os.stat_result | None) -> None:
        if status is not None and status.st_mode & stat.S_ISGID:
            self._inheriting.add(directory)

    def _inherits(self, target: str) -> bool:
        return bool(self._inheriting) and target.rpartition("/")[0] in self._inheriting

    def _is_second_name(self, job: _Job) -> bool:
        status = job.pick.node.stat
        if status.st_nlink < 2 or not job.pick.node.is_file:  # as BuildKit, which links files alone
            return False
        first = self._seen.setdefault((status.st_dev, status.st_ino), job.target)
        if first != job.target:
            self._links.append((first, job.target))
        return first != job.target

    def _make(self, job: _Job) -> None:
        self._token.check()
        node = job.pick.node
        full = self._root.full(job.target)
        if node.is_file:
            self._make_file(job, full)
            return
        if job.target.rpartition("/")[0] not in self._fresh:
            self._clear(job.target)
        if node.is_link:
            os.symlink(node.link, full)
        else:
            os.mknod(full, stat.S_IFMT(node.stat.st_mode) | 0o600, node.stat.st_rdev)
        self._finish(job, full)

    def _make_file(self, job: _Job, full: str) -> None:
        status = job.pick.node.stat
        mode = self._mode(status.st_mode)
        try:
            out = os.open(full, _NEW, mode & 0o777)
        except FileExistsError:
            self._clear(job.target)
            out = os.open(full, _NEW, mode & 0o777)
        try:
            data = self._tree.kept(job.pick.path)
            if data is None:
                self._copy_content(job.pick, out)
            else:
                write_all(out, data)
            owner = self._owner(status)
            if owner != (0, 0) or self._inherits(job.target):
                os.fchown(out, *owner)
            for name, value in self._tree.xattrs(job.pick.path, job.pick.node):
                _set_xattr(out, name, value)
            if mode & (self._umask | 0o7000):
                os.fchmod(out, mode)
            os.utime(out, ns=self._times(status))
        finally:
            os.close(out)

    def _finish(self, job: _Job, full: str) -> None:
        """Set the metadata of a node that is not a regular file; times last."""
        status = job.pick.node.stat
        os.lchown(full, *self._owner(status))
        for name, value in self._tree.xattrs(job.pick.path, job.pick.node):
            _set_xattr(full, name, value)
        if not job.pick.node.is_link:
            os.chmod(full, self._mode(status.st_mode))
        os.utime(full, ns=self._times(status), follow_symlinks=False)

    def _clear(self, target: str) -> None:
        """Make way for a non-directory."""
        status = self._root.lstat(target)
        if status is None:
            return
        if stat.S_ISDIR(status.st_mode) and not self._style.replace:
            raise FileOpError(
                f"cannot replace directory /{target} with a file",
                help="remove the directory first, or copy to another path",
            )
        self._root.remove(target)

    def _owner(self, status: os.stat_result) -> tuple[int, int]:
        if self._style.owner is not None:
            return self._style.owner
        return (status.st_uid, status.st_gid) if self._tree.keeps_owners else (0, 0)

    def _mode(self, mode: int) -> int:
        change = self._style.mode
        return mode & 0o7777 if change is None else change(mode & 0o7777, stat.S_ISDIR(mode))

    def _times(self, status: os.stat_result) -> tuple[int, int]:
        stamp = self._style.timestamp
        return (stamp, stamp) if stamp != KEEP_TIME else (status.st_atime_ns, status.st_mtime_ns)

    def _copy_content(self, pick: Pick, out: int) -> None:
        with self._tree.open(pick.path) as source:
            self._bytes.copy(source.descriptor, out, pick.node.stat)
            # What is copied must be what was digested: cache keys depend on it.
            if not self._tree.keeps_owners and identity(source.status()) != identity(pick.node.stat):
                raise FileOpError(f"/{pick.path} changed while it was being copied", help="build again")


def current_umask() -> int:
    """Return this thread's umask without changing it; all bits if that cannot be told."""
    try:
        with open("/proc/thread-self/status", "rb") as file:
            for line in file:
                if line.startswith(b"Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        return 0o777
    return 0o777


def _set_xattr(where: int | str, name: str, value: bytes) -> None:
    """Set an attribute; one that the file system cannot hold is dropped, as BuildKit does."""
    try:
        if isinstance(where, int):
            os.setxattr(where, name, value)
        else:
            os.setxattr(where, name, value, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
