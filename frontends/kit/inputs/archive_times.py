# SPDX-License-Identifier: Apache-2.0
"""The newest modification time in a tar archive, read as a stream.

A frontend sees files through its bridge only, whatever engine is behind it: so it reads archives itself, with Python's own
decompressors, and no more of them than it needs here. `llbkit.worker.archive.decompress` is for what is unpacked or is a layer.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from typing import Protocol

from llbkit.frontends.kit.inputs.tarheader import BLOCK, SIZE, TIME, WITHOUT_DATA, is_header, number, records

_PIECE = 1 << 18
_MOST_HEADER = 1 << 20
"""The longest pax header that is read: that of Go's ``archive/tar``."""
_XZ_MEMORY = 512 << 20
"""Bytes that an xz stream may take; ``xz -9`` needs 65 MiB."""
_HEAD = 6
"""How many bytes tell how an archive is compressed."""


class ArchiveError(Exception):
    """An archive is damaged; what it begins with is one."""


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes:
        """Return up to so many bytes, none at the end."""


def newest_time(file: Readable) -> int | None:
    """Return the newest time of the regular files in a tar archive, in whole seconds since 1970.

    The archive may be compressed with gzip, bzip2, xz or zstd. None: it has no regular file, or ``file`` is not an archive.
    Cost: linear in its length; the memory of the decompressor's window.

    Raises:
        ArchiveError: it is damaged after its first member.
        OSError: the file cannot be read.
    """
    import zstandard

    head = file.read(_HEAD)
    members = _Members(_decompressed(head, io.BufferedReader(_Prepended(head, file), _PIECE)))
    try:
        return members.newest()
    except (ArchiveError, EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the file: a decompressor's has no number
        if members.begun:
            raise ArchiveError(f"damaged archive: {error}") from error
        return None


def _decompressed(head: bytes, file: io.BufferedReader) -> Readable:
    import zstandard

    if head.startswith(b"\x1f\x8b\x08"):
        return gzip.GzipFile(fileobj=file)
    if head.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if head.startswith(b"\xfd7zXZ\x00"):
        return _Xz(file)
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
    return file


class _Xz(io.RawIOBase):
    """The content of xz streams, one after the other, with a bound on their dictionaries."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._stream = self._begun()

    @staticmethod
    def _begun() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        while True:
            piece = b""
            if self._stream.eof:
                # Zeros may stand between streams.
                piece = (self._stream.unused_data or self._file.read(_PIECE)).lstrip(b"\0")
                if not piece:
                    return 0
                self._stream = self._begun()
            elif self._stream.needs_input and not (piece := self._file.read(_PIECE)):
                raise EOFError("unexpected end")
            if data := self._stream.decompress(piece, len(view)):
                view[: len(data)] = data
                return len(data)


class _Prepended(io.RawIOBase):
    """A stream with bytes that were read of it already put before it again."""

    def __init__(self, head: bytes, rest: Readable) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self._head[: len(view)] or self._rest.read(len(view))
        self._head = self._head[len(data) :] if self._head else b""
        view[: len(data)] = data
        return len(data)


class _Members:
    def __init__(self, file: Readable) -> None:
        self._file = file
        self.begun = False

    def newest(self) -> int | None:
        newest: int | None = None
        overrides: dict[str, str] = {}
        while (header := self._read(BLOCK)) is not None and any(header):
            if not is_header(header):
                raise ArchiveError("invalid tar header")
            self.begun = True
            kind = header[156:157]
            size = number(header[SIZE])
            if kind == b"x":
                overrides = _overrides(self._data(size))
                continue
            if kind == b"S" and header[482]:
                self._skip_sparse_map()
            try:
                size = int(overrides.get("size", size))
                time = _seconds(overrides["mtime"]) if "mtime" in overrides else number(header[TIME])
            except ValueError:
                raise ArchiveError("invalid pax record") from None
            self._skip(size if kind[0] not in WITHOUT_DATA else 0)
            if kind in b"gLK":
                continue  # they describe the next member, which keeps its own pax header
            overrides = {}
            if kind in (b"0", b"\0", b"7") and not header[:100].partition(b"\0")[0].endswith(b"/"):
                newest = time if newest is None else max(newest, time)
        return newest

    def _read(self, size: int) -> bytes | None:
        """Return exactly so many bytes; None at the end of the stream."""
        data = self._file.read(size)
        while data and len(data) < size:
            more = self._file.read(size - len(data))
            if not more:
                raise ArchiveError("unexpected end")
            data += more
        return data or None

    def _data(self, size: int) -> bytes:
        if not 0 <= size <= _MOST_HEADER:
            raise ArchiveError("pax header too long")
        padded = -(-size // BLOCK) * BLOCK
        return (self._read(padded) or b"")[:size] if padded else b""

    def _skip(self, size: int) -> None:
        if size < 0:
            raise ArchiveError("negative size")
        left = -(-size // BLOCK) * BLOCK
        while left:
            data = self._file.read(min(left, _PIECE))
            if not data:
                raise ArchiveError("unexpected end")
            left -= len(data)

    def _skip_sparse_map(self) -> None:
        """Skip the further blocks of an old GNU sparse map."""
        while True:
            block = self._read(BLOCK)
            if block is None:
                raise ArchiveError("unexpected end")
            if not block[504]:
                return


def _seconds(text: str) -> int:
    """Return the whole seconds of a pax time, rounded down. Raises ValueError."""
    whole, _, fraction = text.partition(".")
    return int(whole) - (whole.startswith("-") and fraction.strip("0") != "")


def _overrides(data: bytes) -> dict[str, str]:
    """Return the PAX records that are used here."""
    try:
        return {
            key.decode(): value.decode("ascii", "replace")
            for key, value in records(data)
            if key in (b"mtime", b"size")
        }
    except ValueError as error:
        raise ArchiveError(str(error)) from None
