# SPDX-License-Identifier: Apache-2.0
"""Layers: numbered, immutable directories in overlay format, and the blobs that they are exported as.

A layer is made in one of two ways: a writable filesystem is adopted, or an image's layer is registered and stays lazy until
its files are needed. A directory under its number is complete; it gets the number by a rename, and only then its row says
that it is there.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from worker.base import CancelToken, Compression, Fetch, LayerBlob, LayerInfo, Snapshot, StatusReport
from worker.content.compress import compressor, damaged, open_decompressed
from worker.content.store import ContentStore
from worker.content.tarread import TarError, TarReader
from worker.content.tarwrite import write_layer
from worker.content.unpack import Owed, Unpacker, settle
from worker.oci import LAYER, Descriptor, chain_id
from worker.pools import Token
from worker.statedir import StateDir, remove_tree, storage_errors

_SCHEMA = """
CREATE TABLE layer (
  id INTEGER PRIMARY KEY AUTOINCREMENT, chain_id TEXT NOT NULL DEFAULT '', diff_id TEXT NOT NULL DEFAULT '',
  size INTEGER NOT NULL DEFAULT -1, unpacked INTEGER NOT NULL, description TEXT NOT NULL, created_at REAL NOT NULL,
  source TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX layer_chain ON layer (chain_id) WHERE chain_id != '';
CREATE TABLE layer_blob (
  layer INTEGER NOT NULL, compression TEXT NOT NULL, level INTEGER NOT NULL, media_type TEXT NOT NULL,
  digest TEXT NOT NULL, size INTEGER NOT NULL, annotations TEXT NOT NULL, PRIMARY KEY (layer, compression, level)
) WITHOUT ROWID
"""
_PULLED = -1  # the level of a blob that came from elsewhere
_SUFFIX: dict[Compression, str] = {"gzip": "+gzip", "zstd": "+zstd", "uncompressed": ""}


class LayerStore:
    """The layers of a state directory. Thread-safe.

    ``fetch`` brings blobs of lazy layers into the content store; it is set by the worker that owns the store.
    """

    def __init__(self, state: StateDir, content: ContentStore) -> None:
        self._state = state
        self._content = content
        self._db = state.metadata
        self._db.register("layers", 1, _SCHEMA)
        self._ready: set[int] = set()
        self.fetch: Fetch = _no_fetch

    def path(self, layer: int) -> Path:
        """Return the directory of a layer; it exists once the layer is unpacked."""
        return self._state.layers / str(layer) / "fs"

    def info(self, layer: int) -> LayerInfo:
        """Return what is known of a layer. Raises KeyError if there is none of that number."""
        rows = self._db.query(
            "SELECT chain_id, diff_id, size, unpacked, description, created_at, source FROM layer WHERE id = ?",
            (layer,),
        )
        if not rows:
            raise KeyError(layer)
        chain, diff_id, size, unpacked, description, created_at, source = rows[0]
        return LayerInfo(
            id=layer,
            diff_id=diff_id,
            chain_id=chain,
            size=size,
            unpacked=bool(unpacked),
            description=description,
            created_at=created_at,
            blobs=tuple(descriptor for _, _, descriptor in self._blobs(layer)),
            source=source,
        )

    def layers(self) -> list[LayerInfo]:
        """Return every layer, oldest first."""
        return [self.info(row[0]) for row in self._db.query("SELECT id FROM layer ORDER BY id")]

    # -- tokens

    @staticmethod
    def to_token(snapshot: Snapshot) -> str:
        """Return the token of a snapshot."""
        return "layers:" + ",".join(map(str, snapshot.layers))

    def from_token(self, token: str) -> Snapshot | None:
        """Return the snapshot of a token and pin it; None if a layer of it is gone."""
        kind, _, text = token.partition(":")
        if kind != "layers":
            return None
        layers = tuple(int(part) for part in text.split(",") if part)
        if not layers:
            return Snapshot()
        self._pin(layers)
        marks = ",".join("?" * len(set(layers)))
        count = self._db.query(f"SELECT COUNT(*) FROM layer WHERE id IN ({marks})", tuple(set(layers)))[0][0]
        return Snapshot(layers) if count == len(set(layers)) else None

    def _pin(self, layers: Iterable[int]) -> None:
        fresh = [layer for layer in set(layers) if layer not in self._ready]
        if fresh:
            self._state.pin("layer", [str(layer) for layer in fresh])
            self._ready.update(fresh)

    # -- making layers

    def adopt(self, directory: Path, description: str = "") -> int:
        """Make a directory in overlay format a layer; the directory is moved. Returns the number."""
        with storage_errors(self._state.root):
            with self._db.transaction() as db:
                cursor = db.execute(
                    "INSERT INTO layer (unpacked, description, created_at) VALUES (0, ?, ?)",
                    (description, time.time()),
                )
                layer = int(cursor.lastrowid or 0)
                db.execute("INSERT INTO lease VALUES (?, 'layer', ?)", (self._state.owner, str(layer)))
            self._ready.add(layer)
            self._place(layer, directory)
            with self._db.transaction() as db:
                db.execute("UPDATE layer SET unpacked = 1 WHERE id = ?", (layer,))
        return layer

    def _place(self, layer: int, directory: Path) -> None:
        folder = self._state.layers / str(layer)
        folder.mkdir(exist_ok=True)
        if (folder / "fs").exists():
            remove_tree(folder / "fs")
        directory.rename(folder / "fs")

    def add_remote(
        self,
        descriptor: Descriptor,
        *,
        diff_id: str,
        parent_chain_id: str,
        source: str,
        description: str = "",
        created_at: float = 0.0,
    ) -> int:
        """Register an image's layer and return its number; one that is known already keeps its number.

        ``source`` says where the blob can be fetched from.
        """
        chain = chain_id((parent_chain_id, diff_id)) if parent_chain_id else diff_id
        with self._db.transaction() as db:
            row = db.execute("SELECT id FROM layer WHERE chain_id = ?", (chain,)).fetchone()
            if row is None:
                cursor = db.execute(
                    "INSERT INTO layer (chain_id, diff_id, unpacked, description, created_at, source) "
                    "VALUES (?, ?, 0, ?, ?, ?)",
                    (chain, diff_id, description, created_at or time.time(), source),
                )
                layer = int(cursor.lastrowid or 0)
            else:
                layer = int(row[0])
                db.execute("UPDATE layer SET source = ? WHERE id = ? AND unpacked = 0", (source, layer))
            db.execute("INSERT OR IGNORE INTO lease VALUES (?, 'layer', ?)", (self._state.owner, str(layer)))
            self._remember(db, layer, _kind_of(descriptor.media_type), _PULLED, descriptor)
        self._ready.add(layer)
        return layer

    # -- unpacking

    def ensure(
        self, snapshot: Snapshot, cancel: CancelToken | None = None, report: StatusReport | None = None
    ) -> None:
        """Fetch and unpack the lazy layers of a snapshot; several at a time, each by one thread or process only.

        Raises:
            SourceError: a blob cannot be fetched or is damaged.
            StorageError: the disk is full.
        """
        cancel = cancel or Token()
        missing = [layer for layer in dict.fromkeys(snapshot.layers) if not self._unpacked(layer)]
        if not missing:
            return
        with storage_errors(self._state.root):
            if len(missing) == 1:
                unpacked = [self._unpack(missing[0], cancel, report)]
            else:
                with ThreadPoolExecutor(min(4, len(missing)), thread_name_prefix="llbkit-unpack") as pool:
                    unpacked = list(pool.map(lambda layer: self._unpack(layer, cancel, report), missing))
            for layer, found in zip(missing, unpacked, strict=True):
                if found is not None:
                    self._finish(layer, snapshot, *found)

    def _unpacked(self, layer: int) -> bool:
        rows = self._db.query("SELECT unpacked FROM layer WHERE id = ?", (layer,))
        return bool(rows and rows[0][0])

    def _unpack(
        self, layer: int, cancel: CancelToken, report: StatusReport | None
    ) -> tuple[Path, Owed] | None:
        """Unpack a layer under a temporary name; None if another thread or process has done it meanwhile."""
        with self._state.lock(f"layer-{layer}"):
            if self._unpacked(layer):
                return None
            info = self.info(layer)
            descriptor = info.blobs[0]
            if not self._content.exists(descriptor.digest):
                self.fetch(descriptor, info.source)
            target = self._state.layers / f".{self._state.owner}.{layer}.{secrets.token_hex(4)}"
            target.mkdir()
            owed = self._extract(info, descriptor, target, cancel, report)
            return target, owed

    def _extract(
        self,
        info: LayerInfo,
        descriptor: Descriptor,
        target: Path,
        cancel: CancelToken,
        report: StatusReport | None,
    ) -> Owed:
        name = f"extracting {descriptor.digest}"
        try:
            with self._content.open(descriptor.digest) as blob:
                stream = _Counted(blob, descriptor.size, name, report)
                hashed = _Hashed(open_decompressed(stream))  # type: ignore[arg-type]
                owed = Unpacker(target, cancel).unpack(TarReader(hashed))  # type: ignore[arg-type]
        except (TarError, EOFError, ValueError) as error:
            remove_tree(target)
            raise damaged(f"the layer {descriptor.digest}", error) from error
        except BaseException:
            remove_tree(target)
            raise
        if info.diff_id and hashed.digest != info.diff_id:
            remove_tree(target)
            message = f"its content is {hashed.digest}, the image says {info.diff_id}"
            raise damaged(f"the layer {descriptor.digest}", ValueError(message))
        if report is not None:
            report(name, "extracting", descriptor.size, descriptor.size, True)
        return owed

    def _finish(self, layer: int, snapshot: Snapshot, directory: Path, owed: Owed) -> None:
        with self._state.lock(f"layer-{layer}"):
            if self._unpacked(layer):
                remove_tree(directory)
                return
            below = snapshot.layers[: snapshot.layers.index(layer)]
            if owed.directories or owed.links:
                settle(directory, owed, [self.path(lower) for lower in reversed(below)])
            self._place(layer, directory)
            with self._db.transaction() as db:
                db.execute("UPDATE layer SET unpacked = 1 WHERE id = ?", (layer,))

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

        A blob that was pulled or made before is used, in whatever compression unless ``force``; a layer whose own blob is
        not in the store any more is fetched again by whoever reads it.
        """
        wanted_level = -2 if level is None else level
        known = self._blobs(layer)
        for kind, made_level, descriptor in known:
            pulled = made_level == _PULLED
            right = kind == compression and (made_level == wanted_level or (pulled and level is None))
            if (right or (pulled and not force)) and (pulled or self._content.exists(descriptor.digest)):
                self._state.pin("blob", [descriptor.digest])
                return LayerBlob(descriptor=descriptor, diff_id=self.info(layer).diff_id)
        with self._state.lock(f"blob-{layer}"):
            return self._make_blob(layer, compression, level, wanted_level, cancel or Token())

    def _make_blob(
        self, layer: int, compression: Compression, level: int | None, stored_level: int, cancel: CancelToken
    ) -> LayerBlob:
        state = hashlib.sha256()
        packer = compressor(compression, level)
        with self._content.writer() as writer:
            buffer = bytearray()

            def write(data: bytes) -> None:
                buffer.extend(data)
                if len(buffer) >= 1 << 20:
                    drain()

            def drain() -> None:
                cancel.check()
                data = bytes(buffer)
                buffer.clear()
                state.update(data)
                writer.write(packer.compress(data))

            write_layer(self.path(layer), write)
            drain()
            writer.write(packer.flush())
        diff_id = "sha256:" + state.hexdigest()
        descriptor = Descriptor(
            media_type=LAYER + _SUFFIX[compression], digest=writer.digest, size=writer.size
        )
        with self._db.transaction() as db:
            db.execute("UPDATE layer SET diff_id = ? WHERE id = ?", (diff_id, layer))
            self._remember(db, layer, compression, stored_level, descriptor)
        return LayerBlob(descriptor=descriptor, diff_id=diff_id)

    def _blobs(self, layer: int) -> list[tuple[Compression, int, Descriptor]]:
        rows = self._db.query(
            "SELECT compression, level, media_type, digest, size, annotations FROM layer_blob WHERE layer = ? "
            "ORDER BY level DESC",
            (layer,),
        )
        return [
            (
                kind,
                level,
                Descriptor(media_type=media, digest=digest, size=size, annotations=json.loads(annotations)),
            )
            for kind, level, media, digest, size, annotations in rows
        ]

    @staticmethod
    def _remember(db: object, layer: int, kind: Compression, level: int, descriptor: Descriptor) -> None:
        import sqlite3

        assert isinstance(db, sqlite3.Connection), "called inside a transaction"
        annotations = json.dumps(dict(descriptor.annotations))
        db.execute(
            "INSERT OR REPLACE INTO layer_blob VALUES (?, ?, ?, ?, ?, ?, ?)",
            (layer, kind, level, descriptor.media_type, descriptor.digest, descriptor.size, annotations),
        )

    # -- sizes and removal

    def size(self, layer: int) -> int:
        """Return the bytes a layer takes on disk, measured once."""
        info = self.info(layer)
        if info.size >= 0 or not info.unpacked:
            return max(info.size, 0)
        size = disk_usage(self.path(layer))
        with self._db.transaction() as db:
            db.execute("UPDATE layer SET size = ? WHERE id = ?", (size, layer))
        return size

    def remove(self, layers: Sequence[int]) -> None:
        """Forget layers and delete their directories; the caller knows that nobody uses them."""
        with self._db.transaction() as db:
            rows = [(layer,) for layer in layers]
            db.executemany("DELETE FROM layer WHERE id = ?", rows)
            db.executemany("DELETE FROM layer_blob WHERE layer = ?", rows)
        for layer in layers:
            remove_tree(self._state.layers / str(layer))


class _Hashed:
    """A stream that hashes what is read from it."""

    def __init__(self, stream: object) -> None:
        self._stream = stream
        self._state = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data: bytes = self._stream.read(size)  # type: ignore[attr-defined]
        self._state.update(data)
        return data

    @property
    def digest(self) -> str:
        return "sha256:" + self._state.hexdigest()


class _Counted:
    """A file that reports how much of it was read."""

    def __init__(self, file: object, total: int, name: str, report: StatusReport | None) -> None:
        self._file = file
        self._total = total
        self._name = name
        self._report = report
        self._shown = 0

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._file.read(size)  # type: ignore[attr-defined]
        position = self._file.tell()  # type: ignore[attr-defined]
        if self._report is not None and position - self._shown > 4 << 20:
            self._shown = position
            self._report(self._name, "extracting", position, self._total, False)
        return data

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


def _kind_of(media_type: str) -> Compression:
    if media_type.endswith("zstd"):
        return "zstd"
    return "gzip" if media_type.endswith("gzip") else "uncompressed"


def disk_usage(root: Path) -> int:
    """Return the bytes that a directory and all below it take, hard links once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    pending = [os.fspath(root)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    pending.append(entry.path)
                if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                    if (status.st_dev, status.st_ino) in seen:
                        continue
                    seen.add((status.st_dev, status.st_ino))
                total += status.st_blocks * 512
    return total


def _no_fetch(descriptor: Descriptor, source: str) -> None:
    raise RuntimeError("the layer store was given no way to fetch blobs")
