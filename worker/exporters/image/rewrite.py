# SPDX-License-Identifier: Apache-2.0
"""Clamp the times of a layer's files to SOURCE_DATE_EPOCH, by streaming its tar."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from llbkit.worker.archive.compress import CompressionError, Decompressed
from llbkit.worker.archive.tarread import TarError, TarReader
from llbkit.worker.archive.tarwrite import entry_header, padding, write_end
from llbkit.worker.base import LayerBlob
from llbkit.worker.exporters.base import ExportError
from llbkit.worker.snapshot.pack import Write, kind_of, transcode

if TYPE_CHECKING:
    from llbkit.worker.exporters.base import ImageOptions, Run

REWRITTEN = "buildkit/rewritten-timestamp"
"""Annotation of a layer whose times were clamped; the value is the epoch."""

_CHUNK = 1 << 20
_SECOND = 1_000_000_000


def rewrite_times(blob: LayerBlob, epoch: int, options: ImageOptions, run: Run) -> LayerBlob:
    """Return a layer in which no time is later than the epoch, stored in the content store.

    The compression is that of the given blob.

    Raises:
        ExportError: the blob is damaged, or holds what cannot be rewritten.
    """
    store, digest = run.tools.store, blob.descriptor.digest
    if not store.exists(digest):
        run.tools.fetch(blob.descriptor, "", run.cancel, None)

    def clamp(tar: Decompressed, write: Write) -> None:
        _copy(TarReader(tar.read), write, epoch)
        while tar.read(_CHUNK):
            pass
        if tar.digest != blob.diff_id:
            raise TarError(f"unexpected digest {tar.digest}, want {blob.diff_id}")

    try:
        kind = kind_of(blob.descriptor.media_type)
        packed = transcode(store, digest, kind, options.level, run.cancel, clamp)
    except (TarError, CompressionError) as error:
        raise ExportError(f"cannot rewrite timestamps of layer {digest}: {error}") from error
    annotations = {**blob.descriptor.annotations, REWRITTEN: str(epoch)}
    descriptor = replace(packed.descriptor, media_type=blob.descriptor.media_type, annotations=annotations)
    return LayerBlob(descriptor=descriptor, diff_id=packed.diff_id)


def _copy(reader: TarReader, write: Write, epoch: int) -> None:
    for entry in reader:
        if entry.segments is not None:
            raise TarError(f"it contains the sparse file {entry.name}")
        write(entry_header(entry, min(entry.mtime_ns // _SECOND, epoch)))
        while piece := reader.read(_CHUNK):
            write(piece)
        write(padding(entry.size))
    write_end(write)
