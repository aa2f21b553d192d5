# SPDX-License-Identifier: Apache-2.0
"""The rows of layers: metadata, parent, and the blobs a layer was pulled or exported as.

A layer's number is drawn at random and never used again. The solver's records (``cache.db``) and directories on disk name
layers by it, and any of the three may be lost, or be replaced by an older copy, without the others: a number then names
the layer that it always named, or none. Counted numbers would begin again, and old records would find other content.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from llbkit.worker.base import Compression, LayerInfo
from llbkit.worker.oci import Descriptor, chain_id
from llbkit.worker.state.leases import Leases
from llbkit.worker.state.metadata import Metadata

_SCHEMA = """
CREATE TABLE layer (
  id INTEGER PRIMARY KEY, chain_id TEXT NOT NULL DEFAULT '', diff_id TEXT NOT NULL DEFAULT '',
  size INTEGER NOT NULL DEFAULT -1, unpacked INTEGER NOT NULL, description TEXT NOT NULL, created_at REAL NOT NULL,
  source TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX layer_chain ON layer (chain_id) WHERE chain_id != '';
CREATE TABLE layer_blob (
  layer INTEGER NOT NULL, compression TEXT NOT NULL, level INTEGER NOT NULL, media_type TEXT NOT NULL,
  digest TEXT NOT NULL, size INTEGER NOT NULL, annotations TEXT NOT NULL, PRIMARY KEY (layer, compression, level)
) WITHOUT ROWID
"""
_PARENTS = "CREATE TABLE layer_parent (layer INTEGER PRIMARY KEY, parent INTEGER NOT NULL)"
_TABLES = {"layer": "id", "layer_blob": "layer", "layer_parent": "layer"}
_COLUMNS = "id, chain_id, diff_id, size, unpacked, description, created_at, source"
PULLED = -1
"""The level of a blob that came from elsewhere."""


class StoredBlob(NamedTuple):
    """A blob of a layer. ``level`` is the compression level it was made with, or `PULLED`."""

    compression: Compression
    level: int
    descriptor: Descriptor


class LayerTable:
    """Layers in the database. Thread-safe; every change is one transaction."""

    def __init__(self, metadata: Metadata, lease: Leases) -> None:
        self._db = metadata
        self._lease = lease
        metadata.register("layers", 1, _SCHEMA)
        metadata.register("layers.parents", 1, _PARENTS)

    # -- reading

    def info(self, layer: int) -> LayerInfo:
        """Return what is known about a layer. Raises KeyError if there is none of that number."""
        rows = self._db.query(f"SELECT {_COLUMNS} FROM layer WHERE id = ?", (layer,))
        if not rows:
            raise KeyError(layer)
        return _info(rows[0], self.blobs(layer))

    def all(self) -> list[LayerInfo]:
        """Return every layer, oldest first."""
        blobs: dict[int, list[StoredBlob]] = {}
        for row in self._db.query(f"SELECT layer, {_BLOB} FROM layer_blob ORDER BY level DESC"):
            blobs.setdefault(row[0], []).append(_blob(row[1:]))
        rows = self._db.query(f"SELECT {_COLUMNS} FROM layer ORDER BY created_at, id")
        return [_info(row, blobs.get(row[0], [])) for row in rows]

    def unpacked(self, layer: int) -> bool:
        """Return whether a layer's directory is there."""
        rows = self._db.query("SELECT unpacked FROM layer WHERE id = ?", (layer,))
        return bool(rows and rows[0][0])

    def known(self, layers: Iterable[int]) -> dict[int, bool]:
        """Return those of the layers that are known, and whether their directories are said to be there."""
        wanted = tuple(set(layers))
        marks = ",".join("?" * len(wanted))
        rows = self._db.query(f"SELECT id, unpacked FROM layer WHERE id IN ({marks})", wanted)
        return {int(layer): bool(unpacked) for layer, unpacked in rows}

    def blobs(self, layer: int) -> list[StoredBlob]:
        """Return a layer's blobs, the pulled one after those made with a level that was asked for."""
        rows = self._db.query(f"SELECT {_BLOB} FROM layer_blob WHERE layer = ? ORDER BY level DESC", (layer,))
        return [_blob(row) for row in rows]

    def parents(self, layer: int) -> list[int]:
        """Return the layers that a pulled layer was made on, topmost first."""
        return [
            row[0]
            for row in self._db.query(
                "WITH RECURSIVE up (layer, depth) AS (SELECT parent, 0 FROM layer_parent WHERE layer = ? "
                "UNION ALL SELECT p.parent, depth + 1 FROM layer_parent p JOIN up ON p.layer = up.layer) "
                "SELECT layer FROM up ORDER BY depth",
                (layer,),
            )
        ]

    # -- writing

    def add(self, description: str) -> int:
        """Add a layer that is about to be put in its place, pinned; returns its number."""
        with self._lease.transaction() as (db, pin):
            layer = _new_number()
            db.execute(
                "INSERT INTO layer (id, unpacked, description, created_at) VALUES (?, 0, ?, ?)",
                (layer, description, time.time()),
            )
            pin(layer)
        return layer

    def add_remote(
        self,
        blob: StoredBlob,
        *,
        diff_id: str,
        parent: int | None,
        source: str,
        description: str,
        created_at: float,
    ) -> int:
        """Add a layer of an image, or find it; pinned either way.

        Images that name the same diff ids share layers. But that a blob holds what its diff id says is a claim until it
        has been unpacked: until then, another blob with the same claim is another layer, and so is all above it. After
        that, the layer keeps the blob that proved it.
        """
        with self._lease.transaction() as (db, pin):
            below = "" if parent is None else _chain_of(db, parent)
            chain = chain_id((below, diff_id)) if below else diff_id
            row = _find(db, chain)
            if row is not None and not row.unpacked and row.blob != blob.descriptor.digest:
                chain = chain_id((chain, blob.descriptor.digest))
                row = _find(db, chain)
            if row is None:
                layer = _new_number()
                db.execute(
                    "INSERT INTO layer (id, chain_id, diff_id, unpacked, description, created_at, source) "
                    "VALUES (?, ?, ?, 0, ?, ?, ?)",
                    (layer, chain, diff_id, description, created_at or time.time(), source),
                )
                _remember(db, layer, blob)
            else:
                layer = row.layer
                db.execute("UPDATE layer SET source = ? WHERE id = ? AND unpacked = 0", (source, layer))
            if parent is not None:
                db.execute("INSERT OR REPLACE INTO layer_parent VALUES (?, ?)", (layer, parent))
            pin(layer)
        return layer

    def set_unpacked(self, layer: int) -> None:
        """Note that a layer's directory is in its place."""
        with self._db.transaction() as db:
            db.execute("UPDATE layer SET unpacked = 1 WHERE id = ?", (layer,))

    def note_loss(self, layer: int) -> bool:
        """Note that a layer's directory is gone; return whether it can be brought in again, as what was pulled can.

        One that was made here is forgotten.
        """
        with self._db.transaction() as db:
            db.execute("UPDATE layer SET unpacked = 0 WHERE id = ? AND chain_id != ''", (layer,))
            if db.execute("SELECT changes()").fetchone()[0]:
                return True
            self.delete(db, [layer])
        return False

    def set_size(self, layer: int, size: int) -> None:
        """Note the bytes that a layer takes on disk."""
        with self._db.transaction() as db:
            db.execute("UPDATE layer SET size = ? WHERE id = ?", (size, layer))

    def add_blob(self, layer: int, blob: StoredBlob, diff_id: str) -> None:
        """Note a blob of a layer, and the digest of its uncompressed tar."""
        with self._db.transaction() as db:
            db.execute("UPDATE layer SET diff_id = ? WHERE id = ?", (diff_id, layer))
            _remember(db, layer, blob)

    @staticmethod
    def below_lazy(db: sqlite3.Connection, leaving: Iterable[int]) -> set[int]:
        """Return the layers that lazy layers will need when they are unpacked; ``leaving`` ones do not count."""
        parents: dict[int, int] = dict(db.execute("SELECT layer, parent FROM layer_parent").fetchall())
        lazy = {row[0] for row in db.execute("SELECT id FROM layer WHERE unpacked = 0")}
        needed: set[int] = set()
        for layer in lazy.difference(leaving):
            here = parents.get(layer)
            while here is not None and here not in needed:
                needed.add(here)
                here = parents.get(here)
        return needed

    @staticmethod
    def delete(db: sqlite3.Connection, layers: Iterable[int]) -> None:
        """Delete the rows of layers, in a transaction."""
        for table, column in _TABLES.items():
            db.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(layer,) for layer in layers])


def _new_number() -> int:
    """Return a number that no layer has had: 62 random bits, which a signed 64-bit column holds."""
    return secrets.randbits(62)


class _Known(NamedTuple):
    """A layer of an image that is in the table, and the digest of the blob it was pulled as."""

    layer: int
    unpacked: bool
    blob: str


def _find(db: sqlite3.Connection, chain: str) -> _Known | None:
    row = db.execute(
        "SELECT id, unpacked, digest FROM layer JOIN layer_blob ON layer = id WHERE chain_id = ? AND level = ?",
        (chain, PULLED),
    ).fetchone()
    return None if row is None else _Known(int(row[0]), bool(row[1]), row[2])


def _chain_of(db: sqlite3.Connection, layer: int) -> str:
    return str(db.execute("SELECT chain_id FROM layer WHERE id = ?", (layer,)).fetchone()[0])


_BLOB = "compression, level, media_type, digest, size, annotations"


def _blob(row: Sequence[str]) -> StoredBlob:
    kind, level, media_type, digest, size, annotations = row
    descriptor = Descriptor(
        media_type=media_type, digest=digest, size=int(size), annotations=json.loads(annotations)
    )
    return StoredBlob(kind, int(level), descriptor)  # type: ignore[arg-type]


def _info(row: Sequence[str], blobs: Iterable[StoredBlob]) -> LayerInfo:
    number, chain, diff_id, size, unpacked, description, created_at, source = row
    return LayerInfo(
        id=int(number),
        diff_id=diff_id,
        chain_id=chain,
        size=int(size),
        unpacked=bool(unpacked),
        description=description,
        created_at=float(created_at),
        blobs=tuple(blob.descriptor for blob in blobs),
        source=source,
    )


def _remember(db: sqlite3.Connection, layer: int, blob: StoredBlob) -> None:
    descriptor = blob.descriptor
    annotations = json.dumps(dict(descriptor.annotations))
    db.execute(
        "INSERT OR REPLACE INTO layer_blob VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            layer, blob.compression, blob.level, descriptor.media_type, descriptor.digest, descriptor.size,
            annotations,
        ),
    )  # fmt: skip
