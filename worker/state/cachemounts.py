# SPDX-License-Identifier: Apache-2.0
"""Cache mounts: directories that outlive builds, shared between steps in three modes.

``<root>/<key>/`` is one cache, its key made of the id and of the base it started from. ``<key>/<n>/data`` are its
*instances*: shared and locked users have number 0; private users take the first that is free. An instance is held
by a lock on ``<key>/<n>/lock``, so a holder's death, however it comes, frees it, among threads and among processes
alike. All users hold ``<key>/use`` shared, so that pruning knows. ``<key>/about.json`` says what the cache is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from llbkit.filelock import EXCLUSIVE, POLL_SECONDS, SHARED, locked, try_lock
from llbkit.llb.ir.ops import CacheSharing
from llbkit.records import dataclass
from llbkit.worker.base import CancelToken, StorageError
from llbkit.worker.fs.descent import remove_tree
from llbkit.worker.fs.diskusage import disk_usage

Fill = Callable[[Path], None]
"""Puts the base's content into an empty directory, its own owner and mode included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMountInfo:
    """One cache on disk. ``size`` in bytes (blocks in use), times in seconds since 1970."""

    key: str
    id: str
    base: str
    size: int
    created_at: float
    last_used_at: float
    in_use: bool


class CacheMounts:
    """All cache mounts below ``root``. Thread-safe, and safe among processes."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextlib.contextmanager
    def acquire(
        self,
        cache_id: str,
        sharing: CacheSharing,
        cancel: CancelToken,
        *,
        base: str = "",
        fill: Fill | None = None,
    ) -> Iterator[Path]:
        """Hold the directory of a cache, waiting for others as ``sharing`` says.

        ``base`` names the content it starts from ("" for an empty directory), put there by ``fill`` on first use.

        Raises:
            llbkit.worker.host.pools.Cancelled: while waiting.
            StorageError: the directory cannot be made.
        """
        cache = self._root / key_of(cache_id, base)
        with contextlib.ExitStack() as locks:
            try:
                locks.callback(os.close, _use(cache, cancel))
                lock, instance = _hold(cache, sharing, cancel)
                locks.callback(os.close, lock)
                _prepare(cache, instance, cache_id, base, fill)
                os.utime(cache / "about.json")
            except OSError as error:
                raise StorageError(f"cannot use cache mount {cache_id}: {error}") from error
            yield instance / "data"

    def list(self) -> tuple[CacheMountInfo, ...]:
        """Return every cache, least recently used first."""
        found = []
        for cache in _children(self._root):
            with contextlib.suppress(FileNotFoundError, ValueError):
                found.append(_describe(cache))
        return tuple(sorted(found, key=lambda info: info.last_used_at))

    def remove(self, key: str) -> bool:
        """Delete a cache that is not in use; return whether it was deleted."""
        cache = self._root / key
        lock = try_lock(cache / "use")
        if lock is None:
            return not cache.exists()
        grave = self._root / f".{key}-{os.getpid()}-{time.monotonic_ns()}"
        try:
            cache.rename(grave)
        finally:
            os.close(lock)
        remove_tree(grave)
        return True

    def sweep(self) -> None:
        """Finish removals that a dead process began."""
        with contextlib.suppress(FileNotFoundError):
            for entry in self._root.iterdir():
                if entry.name.startswith("."):
                    with contextlib.suppress(OSError):  # the next start tries again
                        remove_tree(entry)


def key_of(cache_id: str, base: str) -> str:
    """Return the directory name of a cache."""
    return hashlib.sha256(json.dumps([cache_id, base]).encode()).hexdigest()[:40]


def _use(cache: Path, cancel: CancelToken) -> int:
    """Make the cache's directory and mark it as in use; returns the lock's descriptor."""
    while True:
        cancel.check()
        cache.mkdir(parents=True, exist_ok=True)
        lock = try_lock(cache / "use", SHARED)
        if lock is not None:
            return lock
        time.sleep(POLL_SECONDS)


def _hold(cache: Path, sharing: CacheSharing, cancel: CancelToken) -> tuple[int, Path]:
    mode = SHARED if sharing is CacheSharing.SHARED else EXCLUSIVE
    number = 0
    while True:
        cancel.check()
        instance = cache / str(number)
        instance.mkdir(exist_ok=True)
        lock = try_lock(instance / "lock", mode)
        if lock is not None:
            return lock, instance
        if sharing is CacheSharing.PRIVATE:
            number += 1
        else:
            time.sleep(POLL_SECONDS)


def _prepare(cache: Path, instance: Path, cache_id: str, base: str, fill: Fill | None) -> None:
    """Make the data directory if this is the first use. Shared users may come here at the same time."""
    with locked(instance / "making"):
        if not (cache / "about.json").exists():
            about = {"id": cache_id, "base": base, "created_at": time.time()}
            temporary = instance / "about.json"
            temporary.write_text(json.dumps(about), encoding="utf-8")
            temporary.rename(cache / "about.json")
        if (instance / "data").exists():
            return
        draft = instance / "draft"
        remove_tree(draft)
        draft.mkdir()
        draft.chmod(0o755)
        if fill is not None:
            fill(draft)
        draft.rename(instance / "data")


def _describe(cache: Path) -> CacheMountInfo:
    file = cache / "about.json"
    about = json.loads(file.read_text(encoding="utf-8"))
    lock = try_lock(cache / "use")
    if lock is not None:
        os.close(lock)
    return CacheMountInfo(
        key=cache.name,
        id=about["id"],
        base=about["base"],
        size=disk_usage(cache),
        created_at=about["created_at"],
        last_used_at=file.stat().st_mtime,
        in_use=lock is None,
    )


def _children(directory: Path) -> list[Path]:
    try:
        return sorted(p for p in directory.iterdir() if p.is_dir() and not p.name.startswith("."))
    except FileNotFoundError:
        return []
