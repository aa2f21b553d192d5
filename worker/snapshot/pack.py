# SPDX-License-Identifier: Apache-2.0
"""Layers turned into blobs: the tar of a layer's directory, or the tar inside of a blob, compressed again.

Every blob is made by `store_tar`. Compressors get blocks of one size, however the tar comes in: what gzip makes of a text
depends on how it is cut, and equal tars must give equal blobs.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from llbkit.worker.archive.compress import Compressor, Decompressed, compressor
from llbkit.worker.archive.tarwrite import write_layer
from llbkit.worker.base import CancelToken, Compression
from llbkit.worker.content.provider import Blobs, BlobWriter
from llbkit.worker.content.store import ContentStore
from llbkit.worker.oci import LAYER, Descriptor

_BLOCK = 1 << 20
_WAITING = 4  # blocks that are hashed and not yet packed
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
    with content.writer() as writer, _Packer(writer, compressor(compression, level)) as packer:
        sink = _Sink(packer, cancel)
        produce(sink.write)
        diff_id = sink.finish()
    descriptor = Descriptor(media_type=LAYER + _SUFFIX[compression], digest=writer.digest, size=writer.size)
    return Packed(descriptor, diff_id)


class _Sink:
    """Cuts a tar into blocks and hashes them, while those before are packed."""

    def __init__(self, packer: _Packer, cancel: CancelToken) -> None:
        self._packer, self._cancel = packer, cancel
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
        self._packer.finish()
        return "sha256:" + self._hash.hexdigest()

    def _take(self, block: bytes) -> None:
        self._cancel.check()
        self._packer.pack(block)
        self._hash.update(block)


class _Packer:
    """Compresses blocks and writes what comes out: the first at once, those after it on a thread of its own.

    Leaving the context ends the thread, whatever is left to do; `finish` waits until all is written.
    """

    def __init__(self, writer: BlobWriter, packer: Compressor) -> None:
        self._writer, self._packer = writer, packer
        self._blocks: queue.Queue[bytes | None] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None
        self._first = True
        self._unwanted = False
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unwanted = True
        self._join()

    def pack(self, block: bytes) -> None:
        """Take the next block. Raises OSError: writing this one or one before it failed."""
        if self._first:  # most layers are small
            self._first = False
            self._write(block)
            return
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="llbkit-pack")
            thread.start()
            self._thread = thread
        self._blocks.put(block)
        self._raise()

    def finish(self) -> None:
        """End the compressed stream. Raises OSError: writing failed."""
        self._join()
        self._raise()
        self._writer.write(self._packer.flush())

    def _write(self, block: bytes) -> None:
        self._writer.write(self._packer.compress(block))

    def _run(self) -> None:
        while (block := self._blocks.get()) is not None:
            if self._failure is not None or self._unwanted:
                continue  # somebody may wait for room
            try:
                self._write(block)
            except BaseException as error:  # raised again by whoever brings blocks
                self._failure = error

    def _join(self) -> None:
        if self._thread is not None:
            self._blocks.put(None)
            self._thread.join()
            self._thread = None

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure
