# SPDX-License-Identifier: Apache-2.0
"""Temporary directories that do not outlive their process for long: the next start removes those of killed ones.

Each is locked by its owner while it is in use, so everybody can tell what is left over.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llbkit.filelock import try_lock_directory
from llbkit.worker.fs.descent import remove_tree


def is_locked(path: Path) -> bool:
    """Return whether a living process holds the lock of a directory."""
    try:
        descriptor = try_lock_directory(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None


@contextmanager
def scratch(parent: Path | None) -> Iterator[Path]:
    """Make an empty directory, removed at the end.

    If ``parent`` is None, it is made in one that all processes of this user share below the system's temporary directory;
    what killed ones left there is removed first.

    Raises:
        OSError: it cannot be made.
    """
    if parent is None:
        parent = _shared_parent()
        remove_left_over(parent)
    path, descriptor = _make(parent)
    try:
        yield path
    finally:
        remove_tree(path)
        os.close(descriptor)


def _shared_parent() -> Path:
    """Return a directory that nobody else can write to.

    Raises:
        PermissionError: somebody else has made it.
    """
    path = Path(tempfile.gettempdir()) / f"llbkit-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o022:
        raise PermissionError(errno.EPERM, "not a directory that only this user can write to", str(path))
    return path


def _make(parent: Path) -> tuple[Path, int]:
    parent.mkdir(parents=True, exist_ok=True)
    while True:
        path = parent / secrets.token_hex(6)
        path.mkdir(mode=0o700)
        with suppress(FileNotFoundError):
            if (descriptor := try_lock_directory(path)) is not None:
                return path, descriptor
        # Another process took it for left over.


def remove_left_over(parent: Path) -> None:
    """Remove what killed processes left of `scratch`."""
    for name in os.listdir(parent):
        path = parent / name
        try:
            # Held until it is gone: whoever has made the directory just now and not locked it yet makes another one.
            descriptor = try_lock_directory(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if descriptor is None:
            continue
        try:
            remove_tree(path)
        finally:
            os.close(descriptor)
