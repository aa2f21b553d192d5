# SPDX-License-Identifier: Apache-2.0
"""The state directory: its layout, the processes that use it, and cleanup after dead ones.

Every process holds a lock on a file of its own below ``run/owners``, and on its directory below ``work`` in case somebody
removes the file. At opening, files whose lock is free belong to dead processes: what they left in ``work``, ``layers`` and
``content/ingest`` is removed, and their leases are dropped.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from llbkit.filelock import locked, try_lock, try_lock_directory
from llbkit.solver.cache.damage import Notice
from llbkit.solver.cache.sqlite import CONSEQUENCE as RECORDS_LOST
from llbkit.worker.base import CancelToken, StorageError
from llbkit.worker.fs.descent import remove_tree
from llbkit.worker.host.boot import boot_id
from llbkit.worker.state.leases import Leases
from llbkit.worker.state.metadata import CONSEQUENCE as METADATA_LOST
from llbkit.worker.state.metadata import DamagedDatabaseError, Metadata
from llbkit.worker.state.scratch import is_locked, remove_left_over, scratch
from llbkit.worker.state.vetting import Vetting

_FOLDERS = (
    "content/blobs/sha256", "content/blobs/sha512", "content/ingest", "layers", "work", "mounts", "caches", "tmp",
    "run/owners", "run/locks",
)  # fmt: skip
_ATTEMPTS = 100
"""How often a new owner's file may be removed by others before it is locked."""


class StateDir:
    """A state directory in use by this process. Cheap to open; close it at the end.

    ``notice`` receives, in one line each, what was damaged and moved aside. ``alone`` says whether no other process used the
    directory when it was opened, ``is_new`` whether nothing was known of what it holds.

    Raises:
        StorageError: it cannot be created or used.
    """

    def __init__(self, root: Path, notice: Notice = lambda text: None) -> None:
        self.root = root
        self.layers = root / "layers"
        self.blobs = root / "content" / "blobs"
        self.ingest = root / "content" / "ingest"
        self.mounts = root / "mounts"
        self.caches = root / "caches"
        self.run = root / "run"
        self.tmp = root / "tmp"
        self.owner = f"{os.getpid()}-{secrets.token_hex(4)}"
        self.work = root / "work" / self.owner
        with _errors(root, _DISK | _ACCESS | _PLACE):
            for folder in _FOLDERS:  # any of them may have been removed by hand
                if not (root / folder).is_dir():
                    (root / folder).mkdir(parents=True, exist_ok=True)
            self._locks = [self._claim()]
            try:
                self.work.mkdir()
                lock = try_lock_directory(self.work)
                assert lock is not None, "the directory's name is this process's own"
                self._locks.append(lock)
                self.alone = self._is_alone()
                self._vetting = Vetting(
                    {root / "metadata.db": METADATA_LOST, self.cache_db: RECORDS_LOST},
                    self.run / "vetted",
                    notice,
                )
                if self.alone:
                    self._vetting.before()
                self._open_metadata(notice)
                self._release_dead_owners()
                remove_left_over(self.tmp)
            except BaseException:
                self._release()
                raise

    def _open_metadata(self, notice: Notice) -> None:
        for last in (False, True):
            try:
                self.is_new = not (self.root / "metadata.db").exists()
                self.metadata = Metadata(self.root / "metadata.db", notice)
                self.lease = Leases(self.metadata, self.owner)
                return
            except DamagedDatabaseError:  # it was moved aside
                self.metadata.close()
                if last:
                    raise

    @property
    def cache_db(self) -> Path:
        """Where the solver's records are."""
        return self.root / "cache.db"

    def unfinished(self, blob: str) -> Path:
        """Return where a download of a blob waits to be continued, if its process ended before it."""
        return self.ingest / f"unfinished.{blob}"

    def _is_alone(self) -> bool:
        """Return whether no other living process uses the directory."""
        for name in os.listdir(self.run / "owners"):
            if name != self.owner:
                descriptor = try_lock(self.run / "owners" / name, create=False)
                if descriptor is None:
                    return False
                os.close(descriptor)
        return True

    def _claim(self) -> int:
        for _ in range(_ATTEMPTS):
            # Whoever opens the directory while the file is not locked yet takes this owner for dead and removes the file.
            if (descriptor := try_lock(self.run / "owners" / self.owner)) is not None:
                os.write(descriptor, boot_id())
                return descriptor
        raise StorageError(
            f"{self.run / 'owners' / self.owner} cannot be locked: it keeps being removed",
            help="stop whatever cleans the state directory, or choose another --root",
        )

    def _release(self) -> None:
        remove_tree(self.work)
        (self.run / "owners" / self.owner).unlink(missing_ok=True)
        for descriptor in self._locks:
            os.close(descriptor)

    def _release_dead_owners(self) -> None:
        # Read before the owners' files are: an owner has its file for as long as it has its directory.
        unlisted = {*os.listdir(self.root / "work"), *self.lease.owners()} - {self.owner}
        owners = os.listdir(self.run / "owners")
        for name in unlisted.difference(owners):
            if not is_locked(self.root / "work" / name):
                self._release_owner(name, rebooted=False)
        for name in owners:
            if name == self.owner:
                continue
            path = self.run / "owners" / name
            descriptor = try_lock(path, create=False)
            if descriptor is None:
                continue
            try:
                boot = os.read(descriptor, 64)
                self._release_owner(name, rebooted=bool(boot) and boot != boot_id())
                path.unlink(missing_ok=True)
            finally:
                os.close(descriptor)

    def _release_owner(self, owner: str, *, rebooted: bool) -> None:
        remove_tree(self.root / "work" / owner)
        for name in os.listdir(self.ingest):
            if name.startswith(owner + "."):
                _, _, blob = name.removeprefix(owner + ".").partition(".")
                if blob and not rebooted:
                    (self.ingest / name).rename(self.unfinished(blob))
                else:
                    (self.ingest / name).unlink(missing_ok=True)
        for name in os.listdir(self.layers):
            if name.startswith(f".{owner}."):
                remove_tree(self.layers / name)
        self.lease.drop_owner(owner, rebooted=rebooted)

    @contextmanager
    def lock(self, name: str, cancel: CancelToken | None = None) -> Iterator[None]:
        """Acquire an exclusive lock, waiting for it.

        Raises:
            llbkit.worker.host.pools.Cancelled: while waiting, if ``cancel`` says so.
        """
        path = self.run / "locks" / name
        with locked(path, cancel.check if cancel is not None else None):
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Drop this process's leases and leftovers."""
        try:
            if not self.metadata.damaged:
                self.lease.drop()
            self.metadata.close()
            self._vetting.after()
        finally:
            self._release()


_FREE = "free space with `llbkit prune`, or choose another --root"
_DISK = {
    errno.ENOSPC: _FREE,
    errno.EDQUOT: _FREE,
    errno.EROFS: "choose a --root on a writable filesystem",
}
_ACCESS = {
    errno.EACCES: "run as root or choose a writable --root",
    errno.EPERM: "run as root or choose a writable --root",
}
_PLACE = dict.fromkeys(
    (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG), "choose another --root"
)


def storage_errors(root: Path) -> AbstractContextManager[None]:
    """Turn an operating system error of the state directory into a `StorageError`."""
    return _errors(root, _DISK | _ACCESS)


def disk_errors(root: Path) -> AbstractContextManager[None]:
    """Turn full and read-only disks into a `StorageError`; the block does more than to keep state."""
    return _errors(root, _DISK)


@contextmanager
def scratch_below(root: Path) -> Iterator[Path]:
    """Make a temporary directory in a state directory that this process need not have opened yet.

    Raises:
        StorageError: it cannot be made.
    """
    with ExitStack() as stack:
        with _errors(root, _DISK | _ACCESS | _PLACE):
            path = stack.enter_context(scratch(root / "tmp"))
        yield path


@contextmanager
def _errors(root: Path, hints: Mapping[int, str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        code = error.errno or 0
        if code not in hints:
            raise
        raise StorageError(
            f"{os.strerror(code)}: the state directory {root} cannot be used", help=hints[code]
        ) from error
