# SPDX-License-Identifier: Apache-2.0
"""Layers whose files must not be younger than SOURCE_DATE_EPOCH: the tar is streamed through with clamped times."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from worker.base import LayerBlob
from worker.content.provider import Blobs
from worker.oci import Descriptor

if TYPE_CHECKING:
    from worker.exporters.base import ImageOptions, Run

REWRITTEN = "buildkit/rewritten-timestamp"
"""Annotation of a layer whose times were clamped; the value is the epoch."""

_CHUNK = 1 << 20
_TIMES = ("mtime", "atime", "ctime", "LIBARCHIVE.creationtime")


class Hashing:
    """A write-only stream that hashes and counts what goes through."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        """The digest of everything written so far."""
        return "sha256:" + self._hash.hexdigest()

    def write(self, data: bytes) -> int:
        """Write through."""
        self._hash.update(data)
        self.size += len(data)
        return self._target.write(data)

    def flush(self) -> None:
        """Flush the target."""
        self._target.flush()

    def close(self) -> None:
        """Leave the target open; its owner closes it."""


def rewrite_times(blob: LayerBlob, options: ImageOptions, run: Run) -> LayerBlob:
    """Return a layer in which no time is later than the epoch, stored in the content store.

    The compression is that of the given blob.
    """
    from worker.exporters.commit import compression_of

    assert options.epoch is not None
    store, kind = run.tools.store, compression_of(blob.descriptor.media_type)
    if not store.exists(blob.descriptor.digest):
        run.tools.fetch(blob.descriptor, "", run.cancel, None)
    with tempfile.TemporaryFile() as spool:
        outer = Hashing(cast("BinaryIO", spool))
        with ExitStack() as stack:
            source = stack.enter_context(decompressed(store, blob.descriptor.digest, kind))
            target = Hashing(stack.enter_context(compressor(outer, kind, options.level)))
            _copy(source, target, options.epoch, run)
        descriptor = Descriptor(
            media_type=blob.descriptor.media_type,
            digest=outer.digest,
            size=outer.size,
            annotations={**blob.descriptor.annotations, REWRITTEN: str(options.epoch)},
        )
        if not store.exists(descriptor.digest):
            spool.seek(0)
            with store.writer(descriptor.digest, descriptor.size) as writer:
                while piece := spool.read(_CHUNK):
                    writer.write(piece)
    return LayerBlob(descriptor=descriptor, diff_id=target.digest)


def _copy(source: BinaryIO, target: Hashing, epoch: int, run: Run) -> None:
    stream = cast("BinaryIO", target)
    with (
        tarfile.open(fileobj=source, mode="r|") as reader,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as writer,
    ):
        for member in reader:
            run.cancel.check()
            member.mtime = min(int(member.mtime), epoch)
            member.pax_headers = {
                key: value
                for key, value in member.pax_headers.items()
                if key not in (*_TIMES, "path", "linkpath")
            }
            writer.addfile(member, reader.extractfile(member) if member.isreg() else None)


@contextmanager
def decompressed(store: Blobs, digest: str, kind: str) -> Iterator[BinaryIO]:
    """Open a blob as the tar inside."""
    with store.open(digest) as raw:
        if kind == "gzip":
            with gzip.open(raw) as stream:
                yield cast("BinaryIO", stream)
        elif kind == "zstd":
            import zstandard

            with zstandard.ZstdDecompressor().stream_reader(raw) as stream:
                yield cast("BinaryIO", stream)
        else:
            yield raw


@contextmanager
def compressor(target: Hashing, kind: str, level: int | None) -> Iterator[BinaryIO]:
    """Give a stream whose bytes arrive at ``target`` compressed; equal input gives equal output."""
    if kind == "gzip":
        with gzip.GzipFile(
            filename="",
            fileobj=cast("BinaryIO", target),
            mode="wb",
            mtime=0,
            compresslevel=6 if level is None else level,
        ) as stream:
            yield cast("BinaryIO", stream)
    elif kind == "zstd":
        import zstandard

        packer = zstandard.ZstdCompressor(level=3 if level is None else level)
        with packer.stream_writer(cast("BinaryIO", target), closefd=False) as stream:
            yield cast("BinaryIO", stream)
    else:
        yield cast("BinaryIO", target)
