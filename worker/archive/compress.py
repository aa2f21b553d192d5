# SPDX-License-Identifier: Apache-2.0
"""Compressors and decompressors of layers.

gzip goes through ISA-L: several times faster than zlib. Its output depends on the library's version and level only, both of
which are fixed for an installation. zstd is the reference library, whose threads work on pieces of a size that depends on the
level only: its output is the same for any number of them.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any, BinaryIO, Protocol, Self

from llbkit.worker.archive.decompress import (
    HEAD,
    decompression_errors,
    format_of,
    gzip_errors,
    open_gzip,
    open_zstd,
)
from llbkit.worker.base import Compression

DEFAULT_LEVEL = {"gzip": 1, "zstd": 3, "uncompressed": 0}
_MOST_ZSTD_THREADS = 4
_ULTRA = 20
"""From this level of zstd on, the pieces of several threads would take gigabytes of memory."""

_CHUNK = 1 << 20
_AHEAD = 8  # chunks that wait for their reader


class CompressionError(ValueError):
    """Content cannot be decompressed: it is damaged or cut off."""


class Compressor(Protocol):
    """Turns bytes into compressed bytes."""

    def compress(self, data: bytes, /) -> bytes:
        """Take bytes in and return what is ready."""

    def flush(self) -> bytes:
        """End the stream and return the rest."""


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def compressor(kind: Compression, level: int | None = None) -> Compressor:
    """Return a compressor; ``level`` None is the default of its kind. Levels of gzip are cut to ISA-L's 0 to 3."""
    level = DEFAULT_LEVEL[kind] if level is None else level
    match kind:
        case "gzip":
            from isal import isal_zlib

            made: Any = isal_zlib.compressobj(max(0, min(level, 3)), isal_zlib.DEFLATED, 31)
            return made  # type: ignore[no-any-return]
        case "zstd":
            import zstandard

            level = max(1, min(level, 22))
            return zstandard.ZstdCompressor(level=level, threads=_zstd_threads(level)).compressobj()
        case "uncompressed":
            return _Plain()


def _zstd_threads(level: int) -> int:
    """Return how many threads compress. The level alone decides between none, which gives other bytes, and some."""
    return 0 if level >= _ULTRA else max(1, min(len(os.sched_getaffinity(0)), _MOST_ZSTD_THREADS))


class Decompressed:
    """The decompressed content of a file, hashed on the way, made ahead on a thread of its own.

    What the file holds is told by its first bytes; content of no known compression is given as it is. Use it as a
    context manager.

    Args:
        file: read from its start; not closed.
        progress: called with the bytes of ``file`` that were consumed, from the other thread.
    """

    def __init__(self, file: BinaryIO, progress: Callable[[int], None] | None = None) -> None:
        self._file = file
        self._progress = progress
        self._chunks: queue.Queue[bytes | BaseException] = queue.Queue(_AHEAD)
        self._hash = hashlib.sha256()
        self._buffer = b""
        self._at = 0
        self._ended = False
        self._unwanted = False
        self._thread = threading.Thread(target=self._produce, name="llbkit-decompress")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unwanted = True
        while self._thread.is_alive():  # it may wait for room
            try:
                self._chunks.get(timeout=0.01)
            except queue.Empty:
                continue
        self._thread.join()

    @property
    def digest(self) -> str:
        """The digest of everything, once `read` has returned nothing."""
        return "sha256:" + self._hash.hexdigest()

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, at least one; nothing at the end.

        Raises:
            CompressionError: the content is damaged.
            OSError: reading the file failed.
        """
        if self._at == len(self._buffer):
            if self._ended:
                return b""
            found = self._chunks.get()
            if isinstance(found, BaseException):
                self._ended = True
                raise found
            self._buffer, self._at = found, 0
            self._ended = not found
        data = self._buffer[self._at : self._at + size]
        self._at += len(data)
        return data

    def _produce(self) -> None:
        try:
            stream, failures = _open(self._file)
            try:
                while not self._unwanted and (data := stream.read(_CHUNK)):
                    self._hash.update(data)
                    if self._progress is not None:
                        self._progress(self._file.tell())
                    self._chunks.put(data)
                self._chunks.put(b"")
            except failures as error:
                raise CompressionError(str(error)) from error
        except BaseException as error:  # raised again by the reader
            self._chunks.put(error)


def _open(file: BinaryIO) -> tuple[IO[bytes], tuple[type[Exception], ...]]:
    """Return the decompressing stream of a layer, and what it raises if the content is damaged."""
    kind = format_of(file.read(HEAD))
    file.seek(0)
    match kind:
        case "gzip":
            return open_gzip(file), gzip_errors()
        case "zstd":
            return open_zstd(file), decompression_errors()
        case _:  # no layer is compressed otherwise, so these bytes are its content
            return file, ()
