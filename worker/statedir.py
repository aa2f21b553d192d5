# SPDX-License-Identifier: Apache-2.0
"""The state directory: its layout, the processes that use it, and what a dead one left behind.

Every process holds a lock on a file of its own below ``run/owners``. At opening, files whose lock is free belong to dead
processes: what they left in ``work`` and ``content/ingest`` is removed, and their leases are dropped.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.base import StorageError
from worker.metadata import Metadata

_FOLDERS = (
    "content/blobs/sha256", "content/blobs/sha512", "content/ingest", "layers", "work", "mounts", "caches", "tmp",
    "run/owners", "run/locks",
)  # fmt: skip
_LEASES = """
CREATE TABLE lease (owner TEXT NOT NULL, kind TEXT NOT NULL, target TEXT NOT NULL,
  PRIMARY KEY (owner, kind, target)) WITHOUT ROWID
"""


class StateDir:
    """A state directory in use by this process. Cheap to open; close it at the end.

    Raises:
        StorageError: it cannot be created or used.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layers = root / "layers"
        self.blobs = root / "content" / "blobs"
        self.ingest = root / "content" / "ingest"
        self.mounts = root / "mounts"
        self.caches = root / "caches"
        self.run = root / "run"
        self.owner = f"{os.getpid()}-{secrets.token_hex(4)}"
        with storage_errors(root):
            if not (root / "run" / "locks").is_dir():
                for folder in _FOLDERS:
                    (root / folder).mkdir(parents=True, exist_ok=True)
            self._owner_file = self._claim()
            self.work = root / "work" / self.owner
            self.work.mkdir()
            self.tmp = root / "tmp"
            self.metadata = Metadata(root / "metadata.db")
            self.metadata.register("leases", 1, _LEASES)
            self._bury_the_dead()

    @property
    def cache_db(self) -> Path:
        """Where the solver's records are."""
        return self.root / "cache.db"

    def _claim(self) -> int:
        path = self.run / "owners" / self.owner
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return descriptor

    def _bury_the_dead(self) -> None:
        for name in os.listdir(self.run / "owners"):
            if name == self.owner:
                continue
            path = self.run / "owners" / name
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            try:
                self._bury(name)
                path.unlink(missing_ok=True)
            finally:
                os.close(descriptor)

    def _bury(self, owner: str) -> None:
        remove_tree(self.root / "work" / owner)
        for name in os.listdir(self.ingest):
            if name.startswith(owner + "."):
                (self.ingest / name).unlink(missing_ok=True)
        for name in os.listdir(self.layers):
            if name.startswith(f".{owner}."):
                remove_tree(self.layers / name)
        with self.metadata.transaction() as db:
            db.execute("DELETE FROM lease WHERE owner = ?", (owner,))

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a lock that no other thread or process holds. Blocks."""
        path = self.run / "locks" / name
        with open(path, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def pin(self, kind: str, targets: Iterator[str] | list[str]) -> None:
        """Keep layers (``layer``) or blobs (``blob``) from being pruned while this process lives."""
        rows = [(self.owner, kind, target) for target in targets]
        if rows:
            with self.metadata.transaction() as db:
                db.executemany("INSERT OR IGNORE INTO lease (owner, kind, target) VALUES (?, ?, ?)", rows)

    def pinned(self, kind: str) -> set[str]:
        """Return what living processes have pinned."""
        return {row[0] for row in self.metadata.query("SELECT target FROM lease WHERE kind = ?", (kind,))}

    def close(self) -> None:
        """Drop this process's leases and leftovers."""
        remove_tree(self.work)
        if self.metadata.query("SELECT 1 FROM lease WHERE owner = ? LIMIT 1", (self.owner,)):
            with self.metadata.transaction() as db:
                db.execute("DELETE FROM lease WHERE owner = ?", (self.owner,))
        self.metadata.close()
        (self.run / "owners" / self.owner).unlink(missing_ok=True)
        os.close(self._owner_file)


def remove_tree(path: Path) -> None:
    """Remove a directory and all below it, if it exists."""
    shutil.rmtree(path, ignore_errors=False, onerror=_ignore_missing)


def _ignore_missing(
    function: object, path: str, info: tuple[type[BaseException], BaseException, object]
) -> None:
    if not isinstance(info[1], FileNotFoundError):
        raise info[1]


@contextmanager
def storage_errors(root: Path) -> Iterator[None]:
    """Turn what the operating system says of the state directory into a `StorageError`."""
    try:
        yield
    except OSError as error:
        hints = {
            errno.ENOSPC: "free space with `llbkit prune`, or choose another --root",
            errno.EDQUOT: "free space with `llbkit prune`, or choose another --root",
            errno.EACCES: "run as root, or choose a --root that you may write",
            errno.EPERM: "run as root, or choose a --root that you may write",
            errno.EROFS: "choose a --root on a writable filesystem",
        }
        if error.errno not in hints:
            raise
        raise StorageError(
            f"{os.strerror(error.errno)}: the state directory {root} cannot be used", help=hints[error.errno]
        ) from error
