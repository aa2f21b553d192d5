# SPDX-License-Identifier: Apache-2.0
"""A writable root filesystem for file actions: paths never escape it.

Only one action writes at a time, so a path that was resolved here, link by link, stays what it is.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from llbkit.worker.base import FileOpError
from llbkit.worker.fs.descent import remove_tree
from llbkit.worker.fs.owners import Owner
from llbkit.worker.fs.rootpath import PATH_MAX, follow
from llbkit.worker.fs.tree import join, relative

KEEP_TIME = -1


class WritableRoot:
    """The root at ``base``. Paths given to methods are relative to it; results of `resolve` are link-free."""

    def __init__(self, base: str) -> None:
        self.base = base

    def full(self, path: str) -> str:
        """Return where a link-free path is on the host."""
        return join(self.base, path)

    def lstat(self, path: str) -> os.stat_result | None:
        """Return the status of a link-free path, or None."""
        try:
            return os.lstat(self.full(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def is_directory(self, path: str) -> bool:
        """Return whether a link-free path is a directory."""
        status = self.lstat(path)
        return status is not None and stat.S_ISDIR(status.st_mode)

    def resolve(self, path: str, *, last: bool = True) -> str:
        """Return the link-free path that ``path`` means; what does not exist is kept as written.

        Raises:
            FileOpError: links lead in circles, or the path is too long.
        """
        try:
            return follow(self.base, path, last=last)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise FileOpError(f"/{error.filename}: {error.strerror}", help="shorten the path") from error
            raise FileOpError(
                f"/{relative(path)}: too many levels of symbolic links", help="remove the links"
            ) from error

    def make_directories(self, path: str, mode: int, owner: Owner | None, timestamp: int) -> None:
        """Create a link-free path with its parents. Only what is created gets mode, owner and time (-1: now).

        In a set-group-id directory new ones are that too and, without an owner, of its group, as the kernel has it.

        Raises:
            FileOpError: a component is not a directory.
            OSError: it cannot be made, or its path is too long.
        """
        full = self.full(path)
        if len(os.fsencode(full)) >= PATH_MAX:  # who reads it afterwards goes by its path
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), f"{path[:40]}...")
        missing = []
        while True:
            status = self.lstat(path)
            if status is not None:
                if not stat.S_ISDIR(status.st_mode):
                    raise FileOpError(
                        f"/{path}: not a directory", help="remove the file, or choose another path"
                    )
                break
            if not path:
                break
            missing.append(path)
            path = path.rpartition("/")[0]
        inherited = status.st_mode & stat.S_ISGID if status is not None else 0
        if missing:
            attributes = (mode & 0o777 | inherited, owner, timestamp)
            _make_chain(self.full(path), [each.rpartition("/")[2] for each in reversed(missing)], *attributes)

    def remove(self, path: str) -> None:
        """Remove a link-free path with all below it; the root itself keeps existing, empty."""
        status = self.lstat(path)
        if status is None:
            return
        full = self.full(path)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(full)
        elif path:
            remove_tree(full)
        else:
            for name in os.listdir(full):
                self.remove(name)


def _make_chain(base: str, names: Sequence[str], mode: int, owner: Owner | None, timestamp: int) -> None:
    """Make directories, each in the one before it: by descriptors, as every path would be looked up from its start."""
    here = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for number, name in enumerate(names):
            os.mkdir(name, dir_fd=here)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            made = os.open(name, flags, dir_fd=here)
            if number and timestamp != KEEP_TIME:  # only now: a new entry changes the time
                os.utime(here, ns=(timestamp, timestamp))
            os.close(here)
            here = made
            if owner is not None:
                os.fchown(here, owner.uid, owner.gid)
            os.fchmod(here, mode)
        if timestamp != KEEP_TIME:
            os.utime(here, ns=(timestamp, timestamp))
    finally:
        os.close(here)


def set_owner(full: str, owner: Owner | None) -> None:
    """Set the owner of a path without following a link; None keeps it."""
    if owner is not None:
        os.lchown(full, owner.uid, owner.gid)


def set_time(full: str, timestamp: int) -> None:
    """Set access and change time in ns; -1 leaves them."""
    if timestamp != KEEP_TIME:
        os.utime(full, ns=(timestamp, timestamp), follow_symlinks=False)


def is_about_storage(error: OSError) -> bool:
    """Return whether a failure is the disk's, and so the snapshotter's to report, not the action's."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def as_file_error(action: str, error: OSError) -> FileOpError:
    """Return the worker error for a system call that failed during an action."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    where = f" ({error.filename})" if error.filename else ""
    return FileOpError(f"{action}: {reason}{where}", help="check the step's source and destination paths")
