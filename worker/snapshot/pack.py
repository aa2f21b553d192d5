# SPDX-License-Identifier: Apache-2.0
"""Layers turned into blobs: the tar of a layer's directory, or the tar inside of a blob, compressed again.

Every blob is made by `store_tar`. Compressors get blocks of one size, however the tar comes in: what gzip makes of a text
depends on how it is cut, and equal tars must give equal blobs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from llbkit.worker.archive.compress import Compressor, Decompressed, compressor
from llbkit.worker.archive.tarwrite import write_layer
from llbkit.worker.base import CancelToken, Compression
from llbkit.worker.content.provider import Blobs, BlobWriter
from llbkit.worker.content.store import ContentStore
from llbkit.worker.oci import LAYER, Descriptor

_BLOCK = 1 << 20
_SUFFIX: dict[Compression, str] = {"gzip": "+gzip", "zstd": "+zstd", "uncompressed": ""}


class Packed(NamedTuple):
    """A blob that was made, and the digest of its uncompressed tar."""

    descriptor: Descriptor
    diff_id: str


def kind_of(media_type: str) -> Compression:
    """Return the compression of a media type."""
    if media_type.endswith("zstd"):
        return "zstd"
    return "gzip" if media_type.endswith("gzip") else "uncompressed"


def pack(
    content: ContentStore, directory: Path, compression: Compression, level: int | None, cancel: CancelToken
) -> Packed:
    """Store the tar of a layer directory.

    Raises:
        OSError: reading or writing failed.
    """
    return store_tar(content, compression, level, cancel, lambda write: write_layer(directory, write))


Write = Callable[[bytes], object]
"""Takes in the next bytes of a tar."""


def copy_unchanged(tar: Decompressed, write: Write) -> None:
    """Write all of a tar as it is."""
    while data := tar.read(_BLOCK):
        write(data)


def transcode(
    content: Blobs,
    digest: str,
    compression: Compression,
    level: int | None,
    cancel: CancelToken,
    copy: Callable[[Decompressed, Write], None] = copy_unchanged,
) -> Packed:
    """Store what ``copy`` makes of the tar in a blob of the content store, in a compression of its own.

    Raises:
        llbkit.worker.archive.compress.CompressionError: the blob is damaged.
        OSError: reading or writing failed.
    """

    def produce(write: Write) -> None:
        with content.open(digest) as blob, Decompressed(blob) as tar:
            copy(tar, write)

    return store_tar(content, compression, level, cancel, produce)


def store_tar(
    content: Blobs,
    compression: Compression,
    level: int | None,
    cancel: CancelToken,
    produce: Callable[[Write], None],
) -> Packed:
    """Store the tar that ``produce`` writes to the function it is given, compressed.

    Raises:
        OSError: writing failed.
    """
    with content.writer() as writer:
        sink = _Sink(writer, compressor(compression, level), cancel)
        produce(sink.write)
        diff_id = sink.finish()
    descriptor = Descriptor(media_type=LAYER + _SUFFIX[compression], digest=writer.digest, size=writer.size)
    return Packed(descriptor, diff_id)


class _Sink:
    """Cuts a tar into blocks, hashes and compresses them."""

    def __init__(self, writer: BlobWriter, packer: Compressor, cancel: CancelToken) -> None:
        self._writer, self._packer, self._cancel = writer, packer, cancel
        self._hash = hashlib.sha256()
        self._buffer = bytearray()

    def write(self, data: bytes) -> None:
        self._buffer.extend(data)
        while len(self._buffer) >= _BLOCK:
            with memoryview(self._buffer) as view:
                block = bytes(view[:_BLOCK])
            del self._buffer[:_BLOCK]
            self._take(block)

    def finish(self) -> str:
        self._take(bytes(self._buffer))
        self._writer.write(self._packer.flush())
        return "sha256:" + self._hash.hexdigest()

    def _take(self, block: bytes) -> None:
        self._cancel.check()
        self._hash.update(block)
        self._writer.write(self._packer.compress(block))
