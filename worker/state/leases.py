# SPDX-License-Identifier: Apache-2.0
"""Leases: resources in use by a running process, protected from pruning.

A process is known by its *owner* name, whose lock file tells whether it lives (`llbkit.worker.state.directory`): a lock goes with its
process however that ends, and unlike a process number it is never reused. Rows of the dead are dropped by whoever opens
the state directory next; layers that a dead process held become *suspect* until the layer store has looked at them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Literal, NamedTuple

from llbkit.worker.state.metadata import Metadata

Kind = Literal["layer", "blob"]

_SCHEMA = """
CREATE TABLE lease (owner TEXT NOT NULL, kind TEXT NOT NULL, target TEXT NOT NULL,
  PRIMARY KEY (owner, kind, target)) WITHOUT ROWID
"""
_SUSPECT = "CREATE TABLE suspect (layer INTEGER PRIMARY KEY, rebooted INTEGER NOT NULL)"


class Suspect(NamedTuple):
    """A layer that a dead process held. ``rebooted``: the machine went down with it, so files may be incomplete."""

    layer: int
    rebooted: bool


class Leases:
    """The leases of a state directory; pins are made for ``owner``. Thread-safe."""

    def __init__(self, metadata: Metadata, owner: str) -> None:
        self._db = metadata
        self.owner = owner
        self._own: set[tuple[Kind, str]] = set()
        metadata.register("leases", 1, _SCHEMA)
        metadata.register("suspects", 1, _SUSPECT)

    def pin_layers(self, layers: Iterable[int]) -> None:
        """Keep layers from being pruned while this process lives."""
        self._pin("layer", map(str, layers))

    def pin_blob(self, digest: str) -> None:
        """Keep a blob from being pruned while this process lives."""
        self._pin("blob", [digest])

    def _pin(self, kind: Kind, targets: Iterable[str]) -> None:
        fresh = {(kind, target) for target in targets} - self._own
        if fresh:
            with self._db.transaction() as db:
                db.executemany(
                    "INSERT OR IGNORE INTO lease (owner, kind, target) VALUES (?, ?, ?)",
                    [(self.owner, *one) for one in fresh],
                )
            self._own |= fresh

    def pin_new_layer(self, db: sqlite3.Connection, layer: int) -> None:
        """Pin a layer in the transaction that makes its row."""
        db.execute("INSERT OR IGNORE INTO lease VALUES (?, 'layer', ?)", (self.owner, str(layer)))

    def layers(self, db: sqlite3.Connection | None = None) -> frozenset[int]:
        """Return the layers that living processes hold, as seen by a transaction if one is given."""
        return frozenset(int(target) for target in self._targets("layer", db))

    def blobs(self, db: sqlite3.Connection | None = None) -> frozenset[str]:
        """Return the blobs that living processes hold, as seen by a transaction if one is given."""
        return frozenset(self._targets("blob", db))

    def _targets(self, kind: Kind, db: sqlite3.Connection | None) -> list[str]:
        query = "SELECT target FROM lease WHERE kind = ?"
        rows = self._db.query(query, (kind,)) if db is None else db.execute(query, (kind,))
        return [row[0] for row in rows]

    def drop(self) -> None:
        """Drop this process's pins."""
        if self._db.query("SELECT 1 FROM lease WHERE owner = ? LIMIT 1", (self.owner,)):
            with self._db.transaction() as db:
                db.execute("DELETE FROM lease WHERE owner = ?", (self.owner,))
        self._own.clear()

    # -- the dead

    def owners(self) -> frozenset[str]:
        """Return all lease owners, dead or alive."""
        return frozenset(row[0] for row in self._db.query("SELECT DISTINCT owner FROM lease"))

    def drop_owner(self, owner: str, *, rebooted: bool) -> None:
        """Drop a dead process's pins and note its layers as suspect."""
        with self._db.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO suspect SELECT CAST(target AS INTEGER), ? FROM lease "
                "WHERE owner = ? AND kind = 'layer'",
                (int(rebooted), owner),
            )
            db.execute("DELETE FROM lease WHERE owner = ?", (owner,))

    def suspects(self) -> list[Suspect]:
        """Return the suspect layers."""
        rows = self._db.query("SELECT layer, rebooted FROM suspect")
        return [Suspect(layer, bool(rebooted)) for layer, rebooted in rows]

    @staticmethod
    def clear_suspects(db: sqlite3.Connection, layers: Iterable[int]) -> None:
        """Forget suspicions, in the transaction that mends what was found."""
        db.executemany("DELETE FROM suspect WHERE layer = ?", [(layer,) for layer in layers])
