# SPDX-License-Identifier: Apache-2.0
"""File locks between threads and processes, released when the holder dies in any way."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llbkit.worker.base import CancelToken

POLL_SECONDS = 0.02


def try_lock(path: Path, mode: int = fcntl.LOCK_EX, *, create: bool = True) -> int | None:
    """Lock a file without waiting; return the descriptor, whose closing frees it.

    None if others hold it, if it was removed meanwhile, or if it is not there and ``create`` is false. Its directory is
    made too, should somebody have removed it: a caller that waits for the lock would wait for ever.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileNotFoundError:
        if not create:
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, flags, 0o600)
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


@contextmanager
def locked(path: Path, cancel: CancelToken | None = None, *, timeout: float | None = None) -> Iterator[int]:
    """Acquire an exclusive lock, waiting for it; yields its descriptor.

    Raises:
        llbkit.worker.host.pools.Cancelled: while waiting, if ``cancel`` says so.
        TimeoutError: it could not be had in ``timeout`` seconds.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while (descriptor := try_lock(path)) is None:
        if cancel is not None:
            cancel.check()
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutError(
                errno.ETIMEDOUT, "timed out waiting for a lock held by another process", str(path)
            )
        time.sleep(POLL_SECONDS)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def boot_id() -> bytes:
    """Return what names this start of the machine; nothing where the kernel does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return file.read().strip()
    except FileNotFoundError:
        return b""
