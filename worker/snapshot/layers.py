# SPDX-License-Identifier: Apache-2.0
"""Layers: numbered, immutable directories in overlay format, and the blobs that they are exported as.

A layer is made in one of two ways: a writable filesystem is adopted, or an image's layer is registered and stays lazy until
its files are needed. A directory under its number is complete; it gets the number by a rename, and only then its row says
that it is there. Files of layers are not synced: after the death of a process they are in the kernel's hands, and after
that of the machine the layers that the process held are dropped (`LayerStore` does so when it is made).

A directory that is gone although its row says it is there (removed by hand, or not in a backup) is noticed when the layer
is next asked for: what was pulled is brought in again, what was made here is forgotten and made again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from llbkit.worker.base import (
    CancelToken,
    Compression,
    Fetch,
    LayerBlob,
    LayerInfo,
    Snapshot,
    StatusReport,
    StorageError,
)
from llbkit.worker.fs.descent import remove_tree
from llbkit.worker.host.pools import Token
from llbkit.worker.snapshot.overlayfs import is_opaque
from llbkit.worker.snapshot.table import PULLED, LayerTable, StoredBlob
from llbkit.worker.state.directory import StateDir, storage_errors

if TYPE_CHECKING:
    from llbkit.worker.content.store import ContentStore
    from llbkit.worker.oci import Descriptor

_DEFAULT_LEVEL = -2  # the stored level of a blob made with the default level


class LayerStore:
    """The layers of a state directory. Thread-safe, and shared by processes.

    ``fetch`` brings blobs of lazy layers into the content store; it is set by the worker that owns the store.
    """

    def __init__(self, state: StateDir, content: ContentStore) -> None:
        self._state = state
        self._content = content
        self._table = LayerTable(state.metadata, state.lease)
        self.fetch: Fetch = _no_fetch
        self._seen: set[int] = set()
        if state.is_new and state.alone:
            self.sweep()  # what a lost database knew
        self._check_suspects()

    def path(self, layer: int) -> Path:
        """Return the directory of a layer; it exists once the layer is unpacked."""
        return self._state.layers / str(layer) / "fs"

    def paths(self, snapshot: Snapshot) -> list[Path]:
        """Return the directories that show a snapshot, bottom first.

        Of a layer that is in the stack twice, the upper place counts: all that the lower one shows, the upper one hides.
        What an opaque root hides is left out: overlayfs heeds that mark in directories below a layer's root only.
        """
        shown: list[Path] = []
        for layer in dict.fromkeys(reversed(snapshot.layers)):
            path = self.path(layer)
            shown.append(path)
            if is_opaque(os.fspath(path)):
                break
        return shown[::-1]

    def info(self, layer: int) -> LayerInfo:
        """Return what is known about a layer. Raises KeyError if there is none of that number."""
        return self._table.info(layer)

    def layers(self) -> list[LayerInfo]:
        """Return every layer, oldest first."""
        return self._table.all()

    # -- tokens

    @staticmethod
    def to_token(snapshot: Snapshot) -> str:
        """Return the token of a snapshot."""
        return "layers:" + ",".join(map(str, snapshot.layers))

    def from_token(self, token: str) -> Snapshot | None:
        """Return the snapshot of a token and pin it; None if a layer of it, or its directory, is gone."""
        layers = layers_of(token)
        if layers is None:
            return None
        self._state.lease.pin_layers(layers)
        known = self._table.known(layers)
        if not known.keys() >= set(layers):
            return None
        lost = [layer for layer, unpacked in known.items() if unpacked and not self._has_directory(layer)]
        can_return = [self._table.note_loss(layer) for layer in lost]
        return Snapshot(layers) if all(can_return) else None

    def _has_directory(self, layer: int) -> bool:
        """Return whether the directory of an unpacked layer is there; looked at once."""
        if layer not in self._seen and self.path(layer).is_dir():
            self._seen.add(layer)
        return layer in self._seen

    # -- making layers

    def adopt(self, directory: Path, description: str = "") -> int:
        """Make a directory in overlay format a layer; the directory is moved. Returns the number.

        Raises:
            StorageError: the disk is full.
        """
        with storage_errors(self._state.root):
            layer = self._table.add(description)
            self._place(layer, directory)
            self._table.set_unpacked(layer)
        return layer

    def _place(self, layer: int, directory: Path) -> None:
        folder = self._state.layers / str(layer)
        folder.mkdir(exist_ok=True)
        remove_tree(folder / "fs")
        directory.rename(folder / "fs")

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
        """Register an image's layer and return its number; one that is known already keeps its number.

        Layers are registered bottom first, each with the number of its parent. ``source`` says where the blob can be fetched from.
        """
        from llbkit.worker.snapshot.pack import kind_of

        return self._table.add_remote(
            StoredBlob(kind_of(descriptor.media_type), PULLED, descriptor),
            diff_id=diff_id,
            parent=parent,
            source=source,
            description=description,
            created_at=created_at,
        )

    def ensure(
        self, snapshot: Snapshot, cancel: CancelToken | None = None, report: StatusReport | None = None
    ) -> None:
        """Fetch and unpack the lazy layers of a snapshot; several at a time, each by one thread or process only.

        Raises:
            SourceError: a blob cannot be fetched or is damaged.
            StorageError: the disk is full, or a layer that was made here is gone.
        """
        missing = [layer for layer in dict.fromkeys(snapshot.layers) if not self._is_here(layer)]
        if not missing:
            return
        from llbkit.worker.snapshot.extract import Extraction

        with storage_errors(self._state.root):
            Extraction(
                state=self._state,
                content=self._content,
                table=self._table,
                fetch=self.fetch,
                place=self._place,
                path=self.path,
                cancel=cancel or Token(),
                report=report,
            ).run(missing)

    def _is_here(self, layer: int) -> bool:
        """Return whether a layer's directory is there. Raises StorageError if it is gone for good."""
        if not self._table.unpacked(layer):
            return False
        if self.path(layer).is_dir():
            return True
        self._seen.discard(layer)
        if not self._table.note_loss(layer):
            raise StorageError(
                f"{self._state.layers / str(layer)} was removed from the state directory",
                help="build again to recreate it",
            )
        return False

    # -- blobs

    def blob(
        self,
        layer: int,
        *,
        compression: Compression = "gzip",
        level: int | None = None,
        force: bool = False,
        cancel: CancelToken | None = None,
    ) -> LayerBlob:
        """Return a layer as a blob in the content store.

        A pulled layer's own blob is used, in whatever compression unless ``force``; it may not be in the store any more,
        and is then fetched again by whoever reads it. A layer that is made again must be unpacked or have its own blob.

        Raises:
            SourceError: a blob cannot be fetched or is damaged.
            StorageError: the disk is full.
        """
        cancel = cancel or Token()
        found = self.existing_blob(layer, compression=compression, level=level, force=force)
        if found is None:
            with self._state.lock(f"blob-{layer}", cancel):
                found = self.existing_blob(layer, compression=compression, level=level, force=force)
                if found is None:
                    found = self._make_blob(layer, compression, level, cancel)
        return found

    def existing_blob(
        self, layer: int, *, compression: Compression = "gzip", level: int | None = None, force: bool = False
    ) -> LayerBlob | None:
        """Return a blob that a layer has, None if it has none that will do; see `blob`."""
        wanted = _DEFAULT_LEVEL if level is None else level
        for blob in self._table.blobs(layer):
            pulled = blob.level == PULLED
            right = blob.compression == compression and (
                blob.level == wanted or (pulled and (level is None or not force))
            )
            if not right and (force or not pulled):
                continue
            self._state.lease.pin_blob(blob.descriptor.digest)
            if pulled or self._content.exists(blob.descriptor.digest):
                return LayerBlob(descriptor=blob.descriptor, diff_id=self.info(layer).diff_id)
        return None

    def _make_blob(
        self, layer: int, compression: Compression, level: int | None, cancel: CancelToken
    ) -> LayerBlob:
        from llbkit.worker.archive.compress import CompressionError
        from llbkit.worker.snapshot.extract import damaged
        from llbkit.worker.snapshot.pack import pack, transcode

        info = self.info(layer)
        own = next((blob for blob in self._table.blobs(layer) if blob.level == PULLED), None)
        if own is None:
            made = pack(self._content, self.path(layer), compression, level, cancel)
        else:
            # The tar that was pulled stays as it is, so that the layer keeps its identity.
            digest = own.descriptor.digest
            if not self._content.exists(digest):
                self.fetch(own.descriptor, info.source, cancel, None)
            try:
                made = transcode(self._content, digest, compression, level, cancel)
            except CompressionError as error:
                raise damaged(digest, error, info.source) from error
            if info.diff_id and made.diff_id != info.diff_id:
                raise damaged(
                    digest,
                    ValueError(f"unexpected digest {made.diff_id}, want {info.diff_id}"),
                    info.source,
                )
        stored = StoredBlob(compression, _DEFAULT_LEVEL if level is None else level, made.descriptor)
        self._table.add_blob(layer, stored, made.diff_id)
        return LayerBlob(descriptor=made.descriptor, diff_id=made.diff_id)

    # -- sizes and removal

    def size(self, layer: int) -> int:
        """Return the bytes a layer takes on disk, measured once."""
        info = self.info(layer)
        if info.size >= 0 or not info.unpacked:
            return max(info.size, 0)
        from llbkit.worker.fs.diskusage import disk_usage

        size = disk_usage(self.path(layer))
        self._table.set_size(layer, size)
        return size

    def remove_unused(self, layers: Iterable[int]) -> list[int]:
        """Forget those of ``layers`` that nothing needs, delete their directories, and say which they were.

        Needed is what living processes hold, and what lazy layers that stay were made on.
        """
        with self._state.metadata.transaction() as db:
            gone = set(layers) - self._state.lease.layers(db)
            gone -= self._table.below_lazy(db, gone)
            self._table.delete(db, gone)
        for layer in gone:
            remove_tree(self._state.layers / str(layer))
        return sorted(gone)

    def sweep(self) -> None:
        """Delete directories without a row, which a dead process left while it removed layers."""
        for name in os.listdir(self._state.layers):
            if name.isdigit() and not self._table.known([int(name)]):
                remove_tree(self._state.layers / name)

    def _check_suspects(self) -> None:
        """Look at the layers that dead processes held, and drop what is not as its row says."""
        suspects = self._state.lease.suspects()
        if not suspects:
            return
        drop: list[int] = []
        for layer, rebooted in suspects:
            try:
                info = self.info(layer)
            except KeyError:
                continue
            there = self.path(layer).is_dir()
            unfinished = not info.unpacked and not info.chain_id
            if unfinished or (info.unpacked and (rebooted or not there)):
                drop.append(layer)
        with self._state.metadata.transaction() as db:
            self._table.delete(db, drop)
            self._state.lease.clear_suspects(db, [suspect.layer for suspect in suspects])
        for layer in drop:
            remove_tree(self._state.layers / str(layer))


def layers_of(token: str) -> tuple[int, ...] | None:
    """Return the layers that a token names; None if it is not a snapshot's."""
    kind, _, text = token.partition(":")
    parts = text.split(",") if text else []
    if kind != "layers" or not all(part.isdigit() for part in parts):
        return None
    return tuple(map(int, parts))


def _no_fetch(
    descriptor: Descriptor, source: str, cancel: CancelToken, progress: Callable[[int, int], None] | None
) -> None:
    raise RuntimeError("the layer store cannot fetch blobs")
