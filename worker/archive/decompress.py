# SPDX-License-Identifier: Apache-2.0
"""Decompressors of layers and archives: gzip, bzip2, xz and zstd, detected by magic number."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Literal, cast

from llbkit.worker.archive.tarread import TarError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_XZ_MEMORY = 512 << 20  # bytes; xz -9 needs 65 MiB
_PIECE = 1 << 16
_BUFFER = 1 << 17
_LONGEST_TEXT = 512  # bytes of a name or comment in a gzip header, its end included; Go has the same limit
_TRAILING = 1024  # pieces read behind the end of a tar
_GARBAGE = re.compile("gzip: garbage|Input format not supported|Unknown frame descriptor")
"""What decompressors say of what is none of theirs, and so of garbage behind their content."""


def open_gzip(file: IO[bytes]) -> IO[bytes]:
    """Decompress gzip; a wrong checksum is found only after the content before it was delivered."""
    return io.BufferedReader(_Gzip(file), _BUFFER)


def open_bzip2(file: IO[bytes]) -> IO[bytes]:
    """Decompress bzip2."""
    import bz2

    return bz2.BZ2File(file)


def open_xz(file: IO[bytes]) -> IO[bytes]:
    """Decompress xz; a dictionary may ask for memory without bounds, so there is one."""
    return cast("IO[bytes]", _Xz(file))


def open_zstd(file: IO[bytes]) -> IO[bytes]:
    """Decompress zstd."""
    import zstandard

    reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False)
    return io.BufferedReader(cast("io.RawIOBase", reader))


Format = Literal["gzip", "bzip2", "xz", "zstd"]

_MAGIC: Mapping[bytes, Format] = {
    b"\x1f\x8b\x08": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_OPENERS: Mapping[Format, Callable[[IO[bytes]], IO[bytes]]] = {
    "gzip": open_gzip,
    "bzip2": open_bzip2,
    "xz": open_xz,
    "zstd": open_zstd,
}
HEAD = max(map(len, _MAGIC))
"""How many bytes tell how a file is compressed."""


def format_of(head: bytes) -> Format | None:
    """Return how a file that begins with ``head`` is compressed; None if it is not."""
    if head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5:  # a frame that zstd skips
        return "zstd"
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def decompressor_of(head: bytes) -> Callable[[IO[bytes]], IO[bytes]] | None:
    """Return what decompresses a file that begins with ``head``; None if it is not compressed."""
    name = format_of(head)
    return None if name is None else _OPENERS[name]


class _Gzip(io.RawIOBase):
    """The content of a gzip file, of all its members (RFC 1952)."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self._input = b""
        self._begun = False

    def _begin(self, magic: bytes) -> None:
        """Read a member's header behind its ``magic``."""
        from isal import igzip_lib

        if magic != b"\x1f\x8b":
            raise ValueError("gzip: garbage after the end of a member")
        method, flags = self._exactly(8)[:2]
        if method != 8:
            raise ValueError(f"gzip: unknown compression method {method}")
        if flags & 4:
            self._exactly(int.from_bytes(self._exactly(2), "little"))
        for flag in (8, 16):  # the name, a comment
            if flags & flag:
                self._skip_text()
        if flags & 2:
            self._exactly(2)
        self._stream = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE)
        self._checksum, self._length, self._begun = 0, 0, True

    def _skip_text(self) -> None:
        for _ in range(_LONGEST_TEXT):
            if self._exactly(1) == b"\0":
                return
        raise ValueError(f"gzip: name or comment of {_LONGEST_TEXT} bytes or more")

    def _exactly(self, size: int) -> bytes:
        data, self._input = self._input[:size], self._input[size:]
        if len(data) < size:
            data += self._file.read(size - len(data))
        if len(data) < size:
            raise EOFError("gzip: unexpected end of stream")
        return data

    def _next(self) -> bool:
        """Check a member's end and begin the next; return whether there is one."""
        self._input = self._stream.unused_data
        trailer = self._exactly(8)
        if trailer != self._checksum.to_bytes(4, "little") + self._length.to_bytes(4, "little"):
            raise ValueError("gzip: wrong checksum")
        self._input = (self._input or self._file.read(_PIECE)).lstrip(b"\0")
        while not self._input:
            piece = self._file.read(_PIECE)
            if not piece:
                return False
            self._input = piece.lstrip(b"\0")
        self._begin(self._exactly(2))
        return True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        from isal import isal_zlib

        with memoryview(buffer).cast("B") as view:
            if not self._begun:
                self._begin(self._exactly(2))
            while True:
                if self._stream.eof and not self._next():
                    return 0
                piece = b""
                if self._stream.needs_input:
                    piece, self._input = self._input or self._file.read(_PIECE), b""
                    if not piece:
                        raise EOFError("gzip: unexpected end of stream")
                data = self._stream.decompress(piece, len(view))
                if data:
                    self._checksum = isal_zlib.crc32(data, self._checksum)
                    self._length = self._length + len(data) & 0xFFFFFFFF
                    view[: len(data)] = data
                    return len(data)


class _Xz(io.RawIOBase):
    """The content of an xz file, of all its streams."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self._begin()

    def _begin(self) -> None:
        import lzma

        self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        with memoryview(buffer).cast("B") as view:
            while True:
                if self._stream.eof:
                    rest = (self._stream.unused_data or self._file.read(_PIECE)).lstrip(b"\0")
                    if not rest:
                        return 0
                    self._begin()
                elif self._stream.needs_input:
                    rest = self._file.read(_PIECE)
                    if not rest:
                        raise EOFError("unexpected end of stream")
                else:
                    rest = b""
                data = self._stream.decompress(rest, len(view))
                if data:
                    view[: len(data)] = data
                    return len(data)


class DecompressedStream:
    """Reads a decompressed stream as a tar reader wants it.

    At most one read of the decompressor answers a call, so that it delivers all it has before it complains.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
        self._failures = decompression_errors()

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes.

        Raises:
            TarError: the compressed data are damaged.
        """
        try:
            return self._read(size)
        except self._failures as error:
            raise TarError(str(error)) from error
        except OSError as error:
            if error.errno is None:  # how bz2 reports damage
                raise TarError(str(error)) from error
            raise

    def finish(self) -> None:
        """Read what is behind the tar's end, up to a limit, so that the compression's checksum has its say.

        Raises:
            TarError: the checksum is wrong. A cut trailer or garbage behind it are no errors.
        """
        for _ in range(_TRAILING):
            try:
                if not self.read(_PIECE):
                    return
            except TarError as error:
                if not isinstance(error.__cause__, EOFError) and not _GARBAGE.search(str(error)):
                    raise
                return


def gzip_errors() -> tuple[type[Exception], ...]:
    """Return what `open_gzip` raises of damaged content."""
    from isal import isal_zlib

    return (EOFError, ValueError, cast("type[Exception]", isal_zlib.error))


def decompression_errors() -> tuple[type[Exception], ...]:
    """Return what the decompressors raise of damaged content, besides an OSError without a number."""
    import lzma
    import zlib

    import zstandard

    return (*gzip_errors(), zlib.error, lzma.LZMAError, zstandard.ZstdError)
