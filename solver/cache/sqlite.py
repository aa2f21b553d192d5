# SPDX-License-Identifier: Apache-2.0
"""Records in SQLite: shared by processes, safe against being killed at any point."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from solver.ports import Link, Record

_VERSION = 1
_SCHEMA = """
CREATE TABLE record (
  id TEXT PRIMARY KEY, digest TEXT NOT NULL, tokens TEXT NOT NULL, name TEXT NOT NULL, ingredients TEXT NOT NULL,
  created_at REAL NOT NULL, last_used_at REAL NOT NULL, used INTEGER NOT NULL, duration REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX record_digest ON record (digest, created_at);
CREATE INDEX record_name ON record (name, created_at);
CREATE TABLE link (
  digest TEXT NOT NULL, input INTEGER NOT NULL, selector TEXT NOT NULL, key TEXT NOT NULL, record_id TEXT NOT NULL,
  PRIMARY KEY (digest, input, selector, key, record_id)
) WITHOUT ROWID;
CREATE INDEX link_record ON link (record_id);
"""
_COLUMNS = "id, digest, tokens, name, ingredients, created_at, last_used_at, used, duration"
_MANY = 500  # parameters of one statement


class SQLiteStore:
    """A `solver.ports.CacheStore` in one file, in write-ahead mode.

    One connection, guarded by a lock: statements take microseconds. A file of another version is emptied: it is a cache.

    Raises:
        sqlite3.Error: the file cannot be opened or is no database.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA synchronous = NORMAL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version != _VERSION:
            self._create()

    def _create(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("BEGIN IMMEDIATE")
        try:
            if self._db.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
                for table in ("record", "link"):
                    self._db.execute(f"DROP TABLE IF EXISTS {table}")
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {_VERSION}")
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def find(self, digest: str, inputs: Sequence[tuple[str, frozenset[str]]]) -> Sequence[Record]:
        """Return the records linked through some key of every input, newest first."""
        found: set[str] | None = None
        with self._lock:
            for index, (selector, known) in enumerate(inputs) if inputs else [(-1, ("", frozenset([""])))]:
                marks = ",".join("?" * len(known))
                rows = self._db.execute(
                    f"SELECT record_id FROM link WHERE digest = ? AND input = ? AND selector = ? AND key IN ({marks})",
                    (digest, index, selector, *known),
                )
                ids = {row[0] for row in rows}
                found = ids if found is None else found & ids
                if not found:
                    return []
            return self._select(f"id IN ({','.join('?' * len(found or ()))})", tuple(found or ()))

    def store(self, record: Record, links: Sequence[Link]) -> None:
        """Add or replace a record and add links to it, in one transaction."""
        row = (
            record.id,
            record.digest,
            json.dumps(record.tokens),
            record.name,
            json.dumps(record.ingredients, separators=(",", ":"), default=dict),
            record.created_at,
            record.last_used_at,
            record.used,
            record.duration,
        )
        with self._lock, _Transaction(self._db):
            self._db.execute(f"INSERT OR REPLACE INTO record ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?)", row)
            self._add(record.id, links)

    def link(self, record_id: str, links: Sequence[Link]) -> None:
        """Add more links to a record, if it still exists. Writes only what is new."""
        with self._lock:
            rows = self._db.execute(
                "SELECT digest, input, selector, key FROM link WHERE record_id = ?", (record_id,)
            )
            known = {Link(*row) for row in rows}
            fresh = [link for link in links if link not in known]
            if known and fresh:
                with _Transaction(self._db):
                    self._add(record_id, fresh)

    def touch(self, record_ids: Sequence[str], now: float) -> None:
        """Note that records were used."""
        with self._lock, _Transaction(self._db):
            self._db.executemany(
                "UPDATE record SET last_used_at = ?, used = used + 1 WHERE id = ?",
                [(now, id_) for id_ in record_ids],
            )

    def nearest(self, digest: str, name: str) -> Sequence[Record]:
        """Return records with the same name or op, newest first, at most eight."""
        with self._lock:
            return self._select("digest = ? OR name = ?", (digest, name))[:8]

    def records(self) -> Sequence[Record]:
        """Return every record, oldest use first."""
        with self._lock:
            return sorted(self._select("1", ()), key=lambda r: (r.last_used_at, r.id))

    def delete(self, record_ids: Sequence[str]) -> None:
        """Forget records and their links."""
        with self._lock, _Transaction(self._db):
            ids = [(id_,) for id_ in record_ids]
            self._db.executemany("DELETE FROM record WHERE id = ?", ids)
            self._db.executemany("DELETE FROM link WHERE record_id = ?", ids)

    def durations(self, digests: Sequence[str]) -> Mapping[str, float]:
        """Return the last known duration of each op digest that has one."""
        out: dict[str, float] = {}
        with self._lock:
            for start in range(0, len(digests), _MANY):
                part = digests[start : start + _MANY]
                marks = ",".join("?" * len(part))
                out |= self._db.execute(
                    f"SELECT digest, duration FROM record WHERE digest IN ({marks}) ORDER BY created_at",
                    tuple(part),
                ).fetchall()
        return out

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _select(self, where: str, parameters: Sequence[str]) -> list[Record]:
        query = f"SELECT {_COLUMNS} FROM record WHERE {where} ORDER BY created_at DESC, id"
        return [_record(row) for row in self._db.execute(query, parameters)]

    def _add(self, record_id: str, links: Sequence[Link]) -> None:
        self._db.executemany(
            "INSERT OR IGNORE INTO link (digest, input, selector, key, record_id) VALUES (?,?,?,?,?)",
            [(link.digest, link.index, link.selector, link.key, record_id) for link in links],
        )


def _record(row: tuple[str, str, str, str, str, float, float, int, float]) -> Record:
    id_, digest, tokens, name, ingredients, created_at, last_used_at, used, duration = row
    return Record(
        id=id_,
        digest=digest,
        tokens=tuple(json.loads(tokens)),
        name=name,
        ingredients=json.loads(ingredients),
        created_at=created_at,
        last_used_at=last_used_at,
        used=used,
        duration=duration,
    )


class _Transaction:
    """One write transaction; rolled back if its block fails."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._db.execute("ROLLBACK" if kind else "COMMIT")
