# SPDX-License-Identifier: Apache-2.0
"""Blobs by their digest, below ``content/blobs``.

A blob is written under another name, hashed on the way, synced, and renamed: what has a digest's name has its content.
The rename itself is not synced: a blob that a power loss takes is missing, never wrong, and is made or fetched again.

A disk or a person may damage a blob later. What is handed on as it is, is therefore read through `ContentStore.read` or
`ContentStore.verified`, which remove a blob that does not have its digest any more: to everybody it then is missing.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from llbkit.worker.base import SourceError, StorageError
from llbkit.worker.state.directory import StateDir, storage_errors

_CHUNK = 1 << 20


class BlobFile:
    """A blob being written: what ``file`` holds, and what is added. ``size`` in bytes is that of both together."""

    def __init__(self, file: BinaryIO, algorithm: str) -> None:
        self._file = file
        self._state = hashlib.new(algorithm)
        self._algorithm = algorithm
        self.size = 0
        file.seek(0)
        while piece := file.read(_CHUNK):
            self._state.update(piece)
            self.size += len(piece)

    def write(self, data: bytes, /) -> int:
        """Add bytes."""
        self._file.write(data)
        self._state.update(data)
        self.size += len(data)
        return len(data)

    @property
    def digest(self) -> str:
        """The digest of what was written so far."""
        return f"{self._algorithm}:{self._state.hexdigest()}"


class DamagedBlobError(StorageError, FileNotFoundError):
    """A blob did not have its digest any more and was removed; whoever can make or fetch it again may do so."""

    def __init__(self, digest: str) -> None:
        super().__init__(
            f"blob {digest} was corrupt in the state directory and has been removed",
            help="build again to recreate it",
        )
        self.digest = digest


class VerifiedBlob:
    """A blob being read from its start; ``read`` raises `DamagedBlobError` at its end if it does not have its digest."""

    def __init__(self, store: ContentStore, digest: str, file: BinaryIO) -> None:
        self._store, self._digest, self._file = store, digest, file
        self._state = hashlib.new(digest.partition(":")[0])

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, none at the end."""
        data = self._file.read(size)
        self._state.update(data)
        if size < 0 or len(data) < size:  # of a file, less than was asked for is all that is left
            self._check()
        return data

    def _check(self) -> None:
        if not self._digest.endswith(":" + self._state.hexdigest()):
            self._store.delete(self._digest)
            raise DamagedBlobError(self._digest)


class ContentStore:
    """The blobs of a state directory. Thread-safe; several processes may write the same blob."""

    def __init__(self, state: StateDir) -> None:
        self._state = state

    def path(self, digest: str) -> Path:
        """Return where a blob is, or would be."""
        algorithm, _, encoded = digest.partition(":")
        return self._state.blobs / algorithm / encoded

    def exists(self, digest: str) -> bool:
        """Return whether a blob is here; if it is, it stays while this process lives."""
        if not self.path(digest).exists():
            return False
        self._state.lease.pin_blob(digest)
        return self.path(digest).exists()  # a pruning process may have come between

    def size(self, digest: str) -> int:
        """Return a blob's size in bytes. Raises FileNotFoundError."""
        return self.path(digest).stat().st_size

    def open(self, digest: str) -> BinaryIO:
        """Open a blob for reading by somebody who verifies what is read. Raises FileNotFoundError."""
        return open(self.path(digest), "rb")

    @contextmanager
    def verified(self, digest: str) -> Iterator[VerifiedBlob]:
        """Open a blob for reading to its end.

        Raises:
            FileNotFoundError: it is not here.
            DamagedBlobError: at its end: it does not have its digest, and was removed.
        """
        with self.open(digest) as file:
            yield VerifiedBlob(self, digest, file)

    def read(self, digest: str) -> bytes:
        """Return a small blob. Raises FileNotFoundError, `DamagedBlobError` if it is removed for its wrong digest."""
        with self.verified(digest) as blob:
            return blob.read()

    def put(self, data: bytes) -> str:
        """Store bytes and return their digest."""
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        if not self.exists(digest):
            with self.writer(digest, len(data)) as writer:
                writer.write(data)
        return digest

    @contextmanager
    def writer(self, expected: str = "", size: int = -1) -> Iterator[BlobFile]:
        """Write a blob; it is committed when the block ends well.

        Raises:
            SourceError: digest or size are not the expected ones; nothing is stored.
        """
        path = self._state.ingest / f"{self._state.owner}.{secrets.token_hex(8)}"
        try:
            with self._written(path, expected, size) as blob:
                yield blob
        finally:
            path.unlink(missing_ok=True)

    @contextmanager
    def download(self, digest: str, size: int) -> Iterator[BlobFile]:
        """Write on where an earlier download of a blob stopped: at ``size`` of what is given.

        What the block leaves unfinished, by an error or by the end of the process, is kept for the next download; nobody
        vouches for it before the whole blob has its digest.

        Raises:
            SourceError: digest or size are not the expected ones; nothing is stored or kept.
        """
        path = self._state.ingest / f"{self._state.owner}.{secrets.token_hex(8)}.{_file_name(digest)}"
        unfinished = self._state.unfinished(_file_name(digest))
        with suppress(FileNotFoundError):
            unfinished.rename(path)
        received = 0
        try:
            with self._written(path, digest, size) as blob:
                try:
                    yield blob
                finally:
                    received = blob.size
        except StorageError:
            received = 0  # others may need the space
            raise
        finally:
            if 0 < received < size:
                path.rename(unfinished)
            path.unlink(missing_ok=True)

    @contextmanager
    def _written(self, path: Path, expected: str, size: int) -> Iterator[BlobFile]:
        with storage_errors(self._state.root):
            with open(path, "a+b", buffering=_CHUNK) as file:
                blob = BlobFile(file, expected.partition(":")[0] or "sha256")
                yield blob
                if expected and blob.digest != expected:
                    raise SourceError(f"unexpected digest {blob.digest}, want {expected}")
                if size >= 0 and blob.size != size:
                    raise SourceError(f"unexpected size {blob.size}, want {size}")
                file.flush()
                os.fdatasync(file.fileno())
            self._state.lease.pin_blob(blob.digest)
            path.rename(self.path(blob.digest))

    def unfinished(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield the digest and file status of each download that can be continued."""
        for path in self._state.ingest.glob(self._state.unfinished("*").name):
            with suppress(FileNotFoundError):
                yield path.name.partition(".")[2].replace("-", ":"), path.stat()

    def drop_unfinished(self, digest: str) -> bool:
        """Forget what was downloaded of a blob; tells that it is gone."""
        self._state.unfinished(_file_name(digest)).unlink(missing_ok=True)
        return True

    def discard_damaged(self, digest: str) -> bool:
        """Remove a blob whose content is not what its name says; return whether that was so."""
        with suppress(FileNotFoundError), self.open(digest) as file:
            state = hashlib.new(digest.partition(":")[0])
            while piece := file.read(_CHUNK):
                state.update(piece)
            if digest.endswith(":" + state.hexdigest()):
                return False
        self.delete(digest)
        return True

    def delete(self, digest: str) -> int:
        """Remove a blob and return the bytes that became free."""
        path = self.path(digest)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        return size

    def digests(self) -> Iterator[str]:
        """Yield the digest of every blob."""
        for folder in self._state.blobs.iterdir():
            for name in os.listdir(folder):
                yield f"{folder.name}:{name}"


def _file_name(digest: str) -> str:
    return digest.replace(":", "-")
