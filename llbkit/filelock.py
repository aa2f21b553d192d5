# SPDX-License-Identifier: Apache-2.0
"""File locks between threads and processes, released when the holder dies in any way (flock(2)).

The only module that takes one. It lies below all packages, which share it; it needs nothing but the standard library.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

EXCLUSIVE, SHARED = fcntl.LOCK_EX, fcntl.LOCK_SH
POLL_SECONDS = 0.02
"""Seconds after which who waits for a lock asks again, at most."""


def try_lock(path: Path, mode: int = EXCLUSIVE, *, create: bool = True) -> int | None:
    """Lock a file without waiting; return the descriptor, whose closing frees it.

    None if others hold it, if it was removed meanwhile, or if it is not there and ``create`` is false. Its directory is
    made too, should somebody have removed it: a caller that waits for the lock would wait for ever.

    Raises:
        OSError: it cannot be made or opened.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileNotFoundError:
        if not create:
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, flags, 0o600)
    return _lock(descriptor, mode, path)


def try_lock_directory(path: Path) -> int | None:
    """Lock a directory itself, without waiting; None if others hold it, or if it was removed meanwhile.

    Raises:
        OSError: not a directory, or not there.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return _lock(descriptor, EXCLUSIVE, path)


@contextmanager
def locked(
    path: Path, check: Callable[[], None] | None = None, *, timeout: float | None = None
) -> Iterator[int]:
    """Hold the exclusive lock of a file, waiting for it; yields its descriptor.

    ``check`` is called while waiting, and ends that by raising.

    Raises:
        TimeoutError: it could not be had in ``timeout`` seconds.
        OSError: the file cannot be made or opened.
    """
    with _held(lambda: try_lock(path), path, check, timeout) as descriptor:
        yield descriptor


@contextmanager
def locked_directory(path: Path) -> Iterator[None]:
    """Hold the lock of a directory itself, waiting for it; nothing is left behind.

    Raises:
        OSError: not a directory, or not there.
    """
    with _held(lambda: try_lock_directory(path), path, None, None):
        yield


@contextmanager
def _held(
    attempt: Callable[[], int | None],
    path: Path,
    check: Callable[[], None] | None,
    timeout: float | None,
) -> Iterator[int]:
    pause = 0.001
    deadline = None if timeout is None else time.monotonic() + timeout
    while (descriptor := attempt()) is None:
        if check is not None:
            check()
        if deadline is not None and time.monotonic() > deadline:
            text = "timed out waiting for a lock held by another process"
            raise TimeoutError(errno.ETIMEDOUT, text, str(path))
        time.sleep(pause)
        pause = min(2 * pause, POLL_SECONDS)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, mode: int, path: Path) -> int | None:
    """Return the descriptor if it could be locked and is still that of the path, else close it."""
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
