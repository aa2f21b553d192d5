# SPDX-License-Identifier: Apache-2.0
"""The marks of overlayfs in a layer directory, and a stack of layer directories read without mounting it.

A whiteout is a 0/0 character device; an opaque directory carries ``trusted.overlay.opaque=y`` (``user.overlay.opaque``
where a process may not set the former). Kernel documentation, filesystems/overlayfs.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_MAX_LINKS = 40


def is_whiteout(status: os.stat_result) -> bool:
    """Tell whether a file is a whiteout."""
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


def is_opaque(path: str) -> bool:
    """Tell whether a directory is marked opaque."""
    names = os.listxattr(path, follow_symlinks=False)
    return any(name in names and os.getxattr(path, name, follow_symlinks=False) == b"y" for name in OPAQUE)


class Found(NamedTuple):
    """A file of a stack: where it is (host path) and its status."""

    full: str
    status: os.stat_result


class Stack:
    """Layer directories, topmost first, seen as one filesystem. No symbolic link ever leads out of it."""

    def __init__(self, layers: Sequence[Path]) -> None:
        self._layers = [os.fspath(layer) for layer in layers]

    def lookup(self, path: str) -> Found | None:
        """Return what is at ``path``, whose directories must be real ones (see `resolve`)."""
        for layer in self._layers:
            outcome = _look(layer, path)
            if outcome is None:
                return None
            if isinstance(outcome, Found):
                return outcome
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


class _Missing(NamedTuple):
    """A layer says nothing about a path."""


def _look(layer: str, path: str) -> Found | _Missing | None:
    """Look into one layer; None if it hides the path in all layers below."""
    full = layer
    parts = [part for part in path.split("/") if part]
    hides = False
    for number, part in enumerate(parts):
        full = f"{full}/{part}"
        try:
            status = os.lstat(full)
        except FileNotFoundError:
            return None if hides else _Missing()
        if is_whiteout(status):
            return None
        if number == len(parts) - 1:
            return Found(full, status)
        if not stat.S_ISDIR(status.st_mode):
            return None
        hides = hides or is_opaque(full)
    return Found(full, os.lstat(full))
