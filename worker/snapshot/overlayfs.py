# SPDX-License-Identifier: Apache-2.0
"""Overlayfs whiteouts and opaque markers in a layer directory, and a stack of layer directories read without mounting it.

A whiteout is a 0/0 character device; an opaque directory carries ``trusted.overlay.opaque=y`` (``user.overlay.opaque``
where a process may not set the former). Kernel documentation, filesystems/overlayfs.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from enum import Enum, auto
from pathlib import Path
from typing import NamedTuple

OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_MAX_LINKS = 40


def is_whiteout(status: os.stat_result) -> bool:
    """Return whether a file is a whiteout."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def make_whiteout(path: str) -> None:
    """Make a whiteout. Raises OSError."""
    os.mknod(path, stat.S_IFCHR | 0o600, 0)


def make_opaque(path: str) -> None:
    """Mark a directory: nothing of the layers below is seen in it. Raises OSError."""
    try:
        os.setxattr(path, OPAQUE[0], b"y", follow_symlinks=False)
    except PermissionError:
        os.setxattr(path, OPAQUE[1], b"y", follow_symlinks=False)


def clear_opaque(path: str) -> None:
    """Remove the mark of `make_opaque`, if a directory has it. Raises OSError."""
    for name in os.listxattr(path, follow_symlinks=False):
        if name in OPAQUE:
            os.removexattr(path, name, follow_symlinks=False)


def mark_merged(path: str) -> None:
    """Mark a directory as overlayfs marks one that it copied up itself (here: from an unknown origin).

    Without the mark, whiteouts in a directory that exists in no layer below would be listed as entries.
    """
    try:
        os.setxattr(path, "trusted.overlay.origin", b"", follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EPERM):
            raise


def is_opaque(path: str) -> bool:
    """Return whether a directory is marked opaque."""
    names = os.listxattr(path, follow_symlinks=False)
    return any(name in names and os.getxattr(path, name, follow_symlinks=False) == b"y" for name in OPAQUE)


class Found(NamedTuple):
    """A file of a stack: where it is (host path) and its status."""

    full: str
    status: os.stat_result


class Stack:
    """Layer directories, topmost first, seen as one filesystem. No symbolic link ever leads out of it.

    Nobody changes the layers meanwhile, except ``upper``, which lies on top of them if it is given.
    """

    def __init__(self, layers: Sequence[Path], upper: Path | None = None) -> None:
        self._layers = [_Layer(os.fspath(layer)) for layer in layers]
        if upper is not None:
            self._layers.insert(0, _Layer(os.fspath(upper), changes=True))

    def lookup(self, path: str) -> Found | None:
        """Return what is at ``path``, whose directories must be real ones (see `resolve`)."""
        for layer in self._layers:
            outcome = layer.look(path)
            if isinstance(outcome, Found):
                return outcome
            if outcome is _Absence.HIDDEN:
                return None
        return None

    def resolve(self, path: str) -> str:
        """Return ``path`` with every symbolic link on the way followed; the last component is kept.

        Raises:
            OSError: ELOOP.
        """
        folder, _, name = path.rpartition("/")
        pending = folder.split("/")[::-1]
        done: list[str] = []
        links = 0
        while pending:
            part = pending.pop()
            if part in ("", "."):
                continue
            if part == "..":
                del done[-1:]
                continue
            found = self.lookup("/".join([*done, part]))
            if found is None or not stat.S_ISLNK(found.status.st_mode):
                done.append(part)
                continue
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = os.readlink(found.full)
            if target.startswith("/"):
                done.clear()
            pending += target.split("/")[::-1]
        return "/".join([*done, name])


class _Absence(Enum):
    UNSAID = auto()  # a layer says nothing about a path
    HIDDEN = auto()  # it hides the path in all layers below


class _Layer:
    """One layer. Directories are looked up from the one above, and remembered unless the layer ``changes``."""

    def __init__(self, root: str, *, changes: bool = False) -> None:
        self._root = root
        self._changes = changes
        self._folders: dict[
            str, bool | _Absence
        ] = {}  # a directory's value: nothing below is seen through it

    def look(self, path: str) -> Found | _Absence:
        if not path:
            return Found(self._root, os.lstat(self._root))
        folder = self._folder(path.rpartition("/")[0])
        return folder if isinstance(folder, _Absence) else self._entry(path, hides=folder)

    def _folder(self, path: str) -> bool | _Absence:
        if self._changes or not self._folders:
            self._folders = {"": is_opaque(self._root)}
        pending = []
        while path not in self._folders:
            pending.append(path)
            path = path.rpartition("/")[0]
        found = self._folders[path]
        for path in reversed(pending):
            if not isinstance(found, _Absence):
                found = self._below(path, hides=found)
            self._folders[path] = found
        return found

    def _below(self, path: str, *, hides: bool) -> bool | _Absence:
        entry = self._entry(path, hides=hides)
        if isinstance(entry, _Absence):
            return entry
        return hides or is_opaque(entry.full) if stat.S_ISDIR(entry.status.st_mode) else _Absence.HIDDEN

    def _entry(self, path: str, *, hides: bool) -> Found | _Absence:
        full = f"{self._root}/{path}"
        try:
            status = os.lstat(full)
        except FileNotFoundError:
            return _Absence.HIDDEN if hides else _Absence.UNSAID
        return _Absence.HIDDEN if is_whiteout(status) else Found(full, status)
