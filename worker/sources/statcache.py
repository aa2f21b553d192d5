# SPDX-License-Identifier: Apache-2.0
"""Digests of files of local directories, remembered by filesystem, inode, size and times.

One compact file a directory: a magic line, the body's SHA-256, and a marshalled table, so that 20,000 entries load in
a few milliseconds. A damaged or foreign file is an empty cache. A digest is remembered only if the file was at rest
when it was read: a change within the timestamp granularity after reading, or one through memory that somebody has mapped and
that changes the times but once, would otherwise go unseen.

What cannot be seen: a disk (not an image file) that was changed while it was not mounted, with tools that keep times; a
network filesystem whose server keeps times that it should not; FUSE filesystems that are writable and invent their times.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from llbkit.worker.fs.filesystems import identity_of
from llbkit.worker.fs.tree import Node

_MAGIC = f"llbkit-statcache 2 marshal {marshal.version} {sys.hexversion:x}\n".encode()
_FINE, _COARSE = 100_000_000, 2_000_000_000
_MAPPED = 60_000_000_000  # by then the kernel has written out what was mapped, and notes the next change
_CHECKSUM = 32

Identity = tuple[int, int, int, int, int]
Xattrs = tuple[tuple[str, bytes], ...]


class Remembered(NamedTuple):
    """What is known about a path: its `identity`, content digest (b"" if none), attributes."""

    identity: Identity
    digest: bytes
    xattrs: Xattrs


def identity(status: os.stat_result) -> Identity:
    """Return what tells a changed file from an unchanged one, on the same filesystems."""
    return (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_dev)


def at_rest(status: os.stat_result, read_at: int, writers: bool | None = False) -> bool:
    """Return whether a file read at ``read_at`` (ns) had last changed longer ago than its clock's granularity.

    The change time is the kernel's own; a whole second hints at a file system that counts in seconds. ``writers`` says
    whether somebody had the file open for writing then; None, if that is not known, takes a longer rest.
    """
    changed = status.st_ctime_ns
    granularity = _COARSE if changed % 1_000_000_000 == 0 else _FINE
    if writers is None:
        granularity = _MAPPED
    return not writers and changed + granularity < read_at


class StatCache:
    """The cache of one directory, ``root``, in ``path`` (None: in memory only). Thread-safe.

    A directory that is not on this machine has no ``root``, and nothing of it is remembered: nobody sees its filesystem.
    """

    def __init__(self, root: str | None, path: str | None) -> None:
        self.root = root
        self._path = path
        self._lock = threading.Lock()
        self._table: dict[str, tuple[Identity, bytes, Xattrs]] | None = None
        self._filesystems: dict[int, tuple[str, str | None]] = {}
        """By device: a directory on it, relative to the root, and the filesystem's identity, None to remember nothing."""
        self._dirty = False

    def table(self) -> dict[str, tuple[Identity, bytes, Xattrs]]:
        """Return the table, loaded on first use: path to (identity, digest, xattrs). To be read only."""
        with self._lock:
            if self._table is None:
                self._table = self._load()
                self._drop_strangers(self._table)
            return self._table

    def refresh(self) -> None:
        """Forget what is known about filesystems that are no longer mounted where they were. Call it before each scan."""
        with self._lock:
            if self._table is not None:
                self._drop_strangers(self._table)

    def _drop_strangers(self, table: dict[str, tuple[Identity, bytes, Xattrs]]) -> None:
        for device, (folder, known) in list(self._filesystems.items()):
            if known is None or self._looked_at(device, folder) != known:
                del self._filesystems[device]
                for path in [path for path, entry in table.items() if entry[0][4] == device]:
                    del table[path]
                    self._dirty = True

    def _looked_at(self, device: int, folder: str) -> str | None:
        """Return the identity of the filesystem on which a directory is, None if that is not on the device any more."""
        if self.root is None:
            return None
        full = f"{self.root}/{folder}"
        try:
            return identity_of(full) if os.stat(full).st_dev == device else None
        except OSError:
            return None

    def get(self, path: str, node: Node) -> Remembered | None:
        """Return what is known about ``path`` if it is unchanged."""
        found = self.table().get(path)
        return Remembered(*found) if found is not None and found[0] == identity(node.stat) else None

    def put(
        self,
        path: str,
        status: os.stat_result,
        digest: bytes,
        xattrs: Xattrs,
        read_at: int,
        writers: bool | None = False,
    ) -> None:
        """Remember a path that was read at ``read_at`` (ns), if it was `at_rest` then."""
        table = self.table()
        with self._lock:
            self._dirty = True
            device = status.st_dev
            if device not in self._filesystems:
                folder = path.rpartition("/")[0]
                self._filesystems[device] = (folder, self._looked_at(device, folder))
            if at_rest(status, read_at, writers) and self._filesystems[device][1] is not None:
                table[path] = (identity(status), digest, xattrs)
            else:
                table.pop(path, None)

    def save(self, seen: Iterable[str]) -> None:
        """Write the cache if it changed. Paths that were not ``seen`` and are gone are dropped.

        A cache that cannot be written costs time, not correctness: the build goes on.
        """
        table = self.table()
        with self._lock:
            unseen = table.keys() - set(seen)
            gone = [path for path in unseen if not os.path.lexists(f"{self.root}/{path}")]
            for path in gone:
                del table[path]
            if self._path is None or not (self._dirty or gone):
                return
            known = {device: entry for device, entry in self._filesystems.items() if entry[1] is not None}
            body = marshal.dumps((known, table))
            self._dirty = False
        temporary = f"{self._path}.{os.getpid()}.{time.monotonic_ns()}"
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(_MAGIC + hashlib.sha256(body).digest() + body)
            os.replace(temporary, self._path)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)

    def _load(self) -> dict[str, tuple[Identity, bytes, Xattrs]]:
        if self._path is None:
            return {}
        try:
            with open(self._path, "rb") as file:
                data = file.read()
        except OSError:
            return {}
        start = len(_MAGIC) + _CHECKSUM
        body = memoryview(data)[start:]
        if data[: len(_MAGIC)] != _MAGIC or hashlib.sha256(body).digest() != data[len(_MAGIC) : start]:
            return {}
        self._filesystems, table = marshal.loads(body)
        return table  # type: ignore[no-any-return]


class StatCaches:
    """The stat caches of all local directories, kept in ``directory`` (None: in memory only). Thread-safe."""

    def __init__(self, directory: str | os.PathLike[str] | None) -> None:
        self._directory = None if directory is None else os.fspath(directory)
        self._caches: dict[str, StatCache] = {}
        self._lock = threading.Lock()

    def of(self, root: str | None) -> StatCache:
        """Return the cache of a directory given by its real path; an empty one if it is not on this machine."""
        if root is None:
            return StatCache(None, None)
        with self._lock:
            cache = self._caches.get(root)
            if cache is None:
                name = hashlib.sha256(os.fsencode(root)).hexdigest()[:32]
                path = None if self._directory is None else os.path.join(self._directory, name)
                cache = self._caches[root] = StatCache(root, path)
            return cache
