# SPDX-License-Identifier: Apache-2.0
"""Compressors and decompressors of layers.

gzip goes through ISA-L: several times faster than zlib. Its output depends on the library's version and level only, both of
which are fixed for an installation. zstd is the reference library, with one thread, for the same reason.
"""

from __future__ import annotations

from typing import Any, BinaryIO, Protocol

from worker.base import Compression, SourceError

DEFAULT_LEVEL = {"gzip": 1, "zstd": 3, "uncompressed": 0}
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


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

            return zstandard.ZstdCompressor(level=max(1, min(level, 22))).compressobj()
        case "uncompressed":
            return _Plain()


def open_decompressed(file: BinaryIO) -> BinaryIO:
    """Return a stream of the decompressed content, told by its first bytes; other content is returned as it is.

    Raises:
        SourceError: later, while reading, if the content is damaged.
    """
    magic = file.read(4)
    file.seek(0)
    if magic.startswith(_GZIP):
        from isal import igzip

        stream: Any = igzip.IGzipFile(fileobj=file, mode="rb")  # type: ignore[no-untyped-call]
        return stream  # type: ignore[no-any-return]
    if magic == _ZSTD:
        import zstandard

        made: Any = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        return made  # type: ignore[no-any-return]
    return file


def damaged(what: str, error: Exception) -> SourceError:
    """Return the error for content that cannot be decompressed or read as a tar."""
    return SourceError(
        f"{what} is damaged: {error}", help="delete it from the registry's cache or push it again"
    )
