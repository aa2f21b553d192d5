# SPDX-License-Identifier: Apache-2.0
"""Results as others can have them: descriptors of the layers, and where their blobs are.

What an image or a cache manifest says of a snapshot is said here, and a snapshot is made of it again. A layer that came
from elsewhere and was never needed is described by the blob it has there, and is not fetched for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from llbkit.records import dataclass
from llbkit.solver.ports import Result
from llbkit.worker.base import CancelToken, Compression, Fetch, LayerBlob, LayerInfo, Snapshot
from llbkit.worker.content.provider import Blobs
from llbkit.worker.content.store import ContentStore, VerifiedBlob
from llbkit.worker.oci import Descriptor
from llbkit.worker.results import Filesystem, by_kind
from llbkit.worker.snapshot.pack import kind_of


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobOptions:
    """What blobs are wanted.

    A layer that has none in this compression is described by another it has, unless ``force``; if it has none at all, it
    is compressed if ``create`` says so.
    """

    compression: Compression = "gzip"
    level: int | None = None
    force: bool = False
    create: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteLayer:
    """One layer: its blob, the digest of its uncompressed tar, and what history says.

    ``source`` says where the blob is if it is not in the content store: an identifier such as ``docker-image://...``; "" if
    the layer was made here. ``created_at`` is in seconds since 1970, 0 if not known.
    """

    descriptor: Descriptor
    diff_id: str
    source: str = ""
    description: str = ""
    created_at: float = 0.0


class DescribedLayers(Protocol):
    """The members used of the layer store (`llbkit.worker.snapshot.layers.LayerStore`) to describe layers."""

    def info(self, layer: int) -> LayerInfo:
        """Return what is known about a layer."""

    def existing_blob(
        self, layer: int, *, compression: Compression = "gzip", level: int | None = None, force: bool = False
    ) -> LayerBlob | None:
        """Return a blob that a layer has, None if it has none that will do."""

    def blob(
        self,
        layer: int,
        *,
        compression: Compression = "gzip",
        level: int | None = None,
        force: bool = False,
        cancel: CancelToken | None = None,
    ) -> LayerBlob:
        """Return a layer as a blob in the content store, made if there is none in that compression."""


class RegisteredLayers(Protocol):
    """The member used of the layer store to register layers."""

    def add_remote(
        self,
        descriptor: Descriptor,
        *,
        diff_id: str,
        parent: int | None,
        source: str,
        description: str = "",
        created_at: float = 0.0,
    ) -> int:
        """Register a layer and return its number; one that is known already keeps its number."""


def describe(
    snapshot: Snapshot, layers: DescribedLayers, options: BlobOptions, cancel: CancelToken
) -> tuple[RemoteLayer, ...] | None:
    """Return the layers of a snapshot, bottom first; None if one has no blob and must not be compressed. Blocking.

    Raises:
        SourceError: a blob that has to be compressed again cannot be fetched or is damaged.
        StorageError: the disk is full.
    """
    found: list[RemoteLayer] = []
    for layer in snapshot.layers:
        cancel.check()
        info = layers.info(layer)
        blob = _blob_of(info, layers, options, cancel)
        if blob is None:
            return None
        found.append(
            RemoteLayer(
                descriptor=blob.descriptor,
                diff_id=blob.diff_id,
                source=info.source,
                description=info.description,
                created_at=info.created_at,
            )
        )
    return tuple(found)


def _blob_of(
    info: LayerInfo, layers: DescribedLayers, options: BlobOptions, cancel: CancelToken
) -> LayerBlob | None:
    """Return a layer's blob: one that exists, fetched or not, unless another compression is insisted on."""
    if info.source and info.blobs and info.diff_id:
        matching = [blob for blob in info.blobs if kind_of(blob.media_type) == options.compression]
        if matching or not options.force:
            return LayerBlob(descriptor=(matching or list(info.blobs))[0], diff_id=info.diff_id)
    if options.create:
        return layers.blob(
            info.id,
            compression=options.compression,
            level=options.level,
            force=options.force,
            cancel=cancel,
        )
    return layers.existing_blob(
        info.id, compression=options.compression, level=options.level, force=options.force
    )


def register(described: Sequence[RemoteLayer], layers: RegisteredLayers, cancel: CancelToken) -> Snapshot:
    """Return the snapshot of these layers, bottom first; nothing is fetched before somebody needs the files. Blocking."""
    numbers: list[int] = []
    for layer in described:
        cancel.check()
        numbers.append(
            layers.add_remote(
                layer.descriptor,
                diff_id=layer.diff_id,
                parent=numbers[-1] if numbers else None,
                source=layer.source,
                description=layer.description,
                created_at=layer.created_at,
            )
        )
    return Snapshot(tuple(numbers))


def bring(descriptor: Descriptor, source: str, *, store: Blobs, fetch: Fetch, cancel: CancelToken) -> None:
    """Bring a blob into the content store, unless it is there. Blocking.

    Raises:
        SourceError: it cannot be fetched.
    """
    if not store.exists(descriptor.digest):
        cancel.check()
        fetch(descriptor, source, cancel, None)


class Remote:
    """A result for elsewhere: its ``layers``, bottom first, and their blobs. It keeps the result until it is released."""

    def __init__(
        self, layers: tuple[RemoteLayer, ...], result: Result, *, content: ContentStore, fetch: Fetch
    ) -> None:
        self.layers = layers
        self._result = result
        self._content, self._fetch = content, fetch

    @contextmanager
    def open(self, layer: RemoteLayer, cancel: CancelToken) -> Iterator[VerifiedBlob]:
        """Open the blob of a layer for reading to its end; it is fetched if it is not here. Blocking.

        Raises:
            SourceError: it cannot be fetched.
            DamagedBlobError: at its end: it does not have its digest, and was removed.
        """
        bring(layer.descriptor, layer.source, store=self._content, fetch=self._fetch, cancel=cancel)
        with self._content.verified(layer.descriptor.digest) as blob:
            yield blob

    def release(self) -> None:
        """Let pruning remove the result, if nothing else needs it; idempotent."""
        self._result.release()


def remote_of(
    result: Result,
    filesystem: Filesystem,
    options: BlobOptions,
    *,
    layers: DescribedLayers,
    content: ContentStore,
    fetch: Fetch,
    cancel: CancelToken,
) -> Remote | None:
    """Return a result, which is this filesystem, for elsewhere; None if its layers must be compressed for that, but may not.

    Blocking. Raises as `describe`.
    """
    described = by_kind(
        filesystem,
        snapshot=lambda snapshot: describe(snapshot, layers, options, cancel),
        local=lambda tree: describe(tree.materialize(), layers, options, cancel) if options.create else None,
    )
    return None if described is None else Remote(described, result.clone(), content=content, fetch=fetch)
