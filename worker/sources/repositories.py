# SPDX-License-Identifier: Apache-2.0
"""Bare git repositories below the state directory, one per remote, with all objects fetched so far.

``<key>/`` is a repository, ``<key>.lock`` the lock of who works in it; the lock file holds the remote's address as it may
be shown, and its time is that of the last use.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llbkit.filelock import locked, try_lock
from llbkit.records import dataclass
from llbkit.worker.base import CancelToken
from llbkit.worker.fs.diskusage import disk_usage


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryInfo:
    """One repository on disk. ``remote`` is shown without secrets, ``size`` in bytes, times in seconds since 1970."""

    key: str
    remote: str
    size: int
    created_at: float
    last_used_at: float
    in_use: bool


class Repositories:
    """All repositories below ``root``. Thread-safe, and safe among processes."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def hold(self, remote: str, shown: str, cancel: CancelToken) -> Iterator[Path]:
        """Hold the directory of a remote's repository (empty at first), waiting for others.

        Raises:
            llbkit.worker.host.pools.Cancelled: while waiting.
        """
        bare = self._root / hashlib.sha256(remote.encode()).hexdigest()
        self._root.mkdir(parents=True, exist_ok=True)
        with locked(_lock_of(bare), cancel.check) as lock:
            os.truncate(lock, 0)
            os.pwrite(lock, shown.encode(), 0)
            bare.mkdir(exist_ok=True)
            for stale in bare.glob("*.lock"):  # left by a git that was killed: no other one runs here now
                stale.unlink(missing_ok=True)
            yield bare

    def list(self) -> tuple[RepositoryInfo, ...]:
        """Return every repository, least recently used first."""
        found = []
        for bare in self._root.glob("?" * 64):
            with suppress(FileNotFoundError):
                found.append(_describe(bare))
        return tuple(sorted(found, key=lambda info: info.last_used_at))

    def remove(self, key: str) -> bool:
        """Delete a repository that is not in use; return whether it was deleted."""
        bare = self._root / key
        lock = try_lock(_lock_of(bare))
        if lock is None:
            return not bare.exists()
        try:
            with suppress(FileNotFoundError):
                shutil.rmtree(bare)
            _lock_of(bare).unlink(missing_ok=True)
        finally:
            os.close(lock)
        return True


def _lock_of(bare: Path) -> Path:
    return bare.with_name(f"{bare.name}.lock")


def _describe(bare: Path) -> RepositoryInfo:
    file = _lock_of(bare)
    lock = try_lock(file, create=False)
    if lock is not None:
        os.close(lock)
    return RepositoryInfo(
        key=bare.name,
        remote=file.read_text(encoding="utf-8", errors="replace"),
        size=disk_usage(bare),
        created_at=(bare / "HEAD").stat().st_mtime,
        last_used_at=file.stat().st_mtime,
        in_use=lock is None,
    )
