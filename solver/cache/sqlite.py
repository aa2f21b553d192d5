# SPDX-License-Identifier: Apache-2.0
"""Records in SQLite: shared by processes, safe against being killed at any point.

Write-ahead mode lets readers go on while another process writes, and a transaction that was cut off by a kill never
happened. Commits are not synced one by one: after a power failure the newest records may be missing, which costs executing
them again and nothing else. The lookup of a solve (`linked`) reads one index, in the order of its key.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from llbkit.solver.cache.damage import DamagedRowError, FileId, Notice, guarded, is_damage
from llbkit.solver.ports import Json, Link, Record

T = TypeVar("T")
P = ParamSpec("P")
CONSEQUENCE = "steps are executed again"
"""What it means for users that the records are lost."""

_VERSION = 2
_SCHEMA = """
CREATE TABLE record (
  id TEXT PRIMARY KEY, digest TEXT NOT NULL, tokens TEXT NOT NULL, name TEXT NOT NULL, ingredients TEXT NOT NULL,
  created_at REAL NOT NULL, last_used_at REAL NOT NULL, used INTEGER NOT NULL, duration REAL NOT NULL
);
CREATE INDEX record_digest ON record (digest, created_at, duration);
CREATE INDEX record_name ON record (name, created_at);
CREATE TABLE link (
  digest TEXT NOT NULL, input INTEGER NOT NULL, selector TEXT NOT NULL, key TEXT NOT NULL, record_id TEXT NOT NULL,
  PRIMARY KEY (digest, input, selector, key, record_id)
) WITHOUT ROWID;
CREATE INDEX link_record ON link (record_id);
"""
_TABLES = ("record", "link")
_COLUMNS = "id, digest, tokens, name, ingredients, created_at, last_used_at, used, duration"
_MANY = 500
"""Parameters of one statement."""
_NEAR = 8
"""Records that `SQLiteStore.nearest` returns at most."""
_PATIENCE = 30.0
"""Seconds to wait for another process's transaction; they take milliseconds."""


def _healing(
    method: Callable[Concatenate[SQLiteStore, P], T],
) -> Callable[Concatenate[SQLiteStore, P], T]:
    """Have a method of the store done again, on an empty file, if it meets damage."""

    @wraps(method)
    def healing(self: SQLiteStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        db = self._db
        try:
            return method(self, *args, **kwargs)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self._replace(db, error)
            return method(self, *args, **kwargs)

    return healing


class SQLiteStore:
    """A `llbkit.solver.ports.CacheStore` in one file.

    One connection, guarded by a lock: statements take microseconds. It is a cache, so a file of another version is emptied.
    A damaged one is moved aside, whenever that is found, and the store goes on with an empty one; ``notice`` is called.

    Raises:
        sqlite3.Error: the file cannot be opened or written.
    """

    def __init__(self, path: Path, notice: Notice = lambda text: None) -> None:
        self._path = path
        self._notice = notice
        self._lock = threading.Lock()
        self._file: FileId | None = None
        self._db = self._connect()

    def _connect(self, error: sqlite3.DatabaseError | None = None) -> sqlite3.Connection:
        """Open the file, in place of the one in which ``error`` was found, if any; a damaged one is moved aside."""
        with guarded(self._path) as file:
            if error is not None:
                file.put_aside(self._file, error, self._notice, CONSEQUENCE)
            try:
                db = _open(self._path)
            except sqlite3.DatabaseError as found:
                if not is_damage(found):
                    raise
                file.put_aside(file.id(), found, self._notice, CONSEQUENCE)
                db = _open(self._path)
            self._file = file.id()
        return db

    def _replace(self, damaged: sqlite3.Connection, error: sqlite3.DatabaseError) -> None:
        """Go on with an empty file, or another process's new one, unless another thread has seen to it."""
        with self._lock:
            if self._db is damaged:
                damaged.close()
                self._db = self._connect(error)

    @_healing
    def linked(self, links: Sequence[Link]) -> Sequence[frozenset[str]]:
        """Return for each link the ids of the records that have it."""
        query = "SELECT record_id FROM link WHERE digest = ? AND input = ? AND selector = ? AND key = ?"
        with self._lock:
            return [
                frozenset(
                    row[0]
                    for row in self._db.execute(query, (link.digest, link.index, link.selector, link.key))
                )
                for link in links
            ]

    @_healing
    def select(self, record_ids: Collection[str]) -> Sequence[Record]:
        """Return those of these records that exist, newest first."""
        with self._lock:
            return self._select_ids(sorted(record_ids))

    @_healing
    def store(self, record: Record, links: Sequence[Link]) -> None:
        """Add a record with its links, in place of one of the same id and its links, in one transaction."""
        row = (
            record.id,
            record.digest,
            json.dumps(record.tokens),
            record.name,
            _dump(record.ingredients),
            record.created_at,
            record.last_used_at,
            record.used,
            record.duration,
        )
        with self._lock, _Transaction(self._db):
            self._db.execute("DELETE FROM link WHERE record_id = ?", (record.id,))
            self._db.execute(f"INSERT OR REPLACE INTO record ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?)", row)
            self._add(record.id, links)

    @_healing
    def link(self, record_id: str, links: Sequence[Link]) -> None:
        """Add more links to a record, if it still exists. Writes only what is new."""
        with self._lock:
            if not self._new_links(record_id, links):
                return
            with _Transaction(self._db):
                if self._db.execute("SELECT 1 FROM record WHERE id = ?", (record_id,)).fetchone():
                    self._add(record_id, links)

    @_healing
    def touch(self, record_ids: Sequence[str], now: float) -> None:
        """Note that records were used."""
        with self._lock, _Transaction(self._db):
            self._db.executemany(
                "UPDATE record SET last_used_at = ?, used = used + 1 WHERE id = ?",
                [(now, id_) for id_ in record_ids],
            )

    @_healing
    def nearest(self, digest: str, name: str) -> Sequence[Record]:
        """Return records with the same name or op, newest first, at most eight."""
        found: dict[str, Record] = {}
        with self._lock:
            for column, value in (("digest", digest), ("name", name)):
                query = f"SELECT {_COLUMNS} FROM record WHERE {column} = ? ORDER BY created_at DESC LIMIT ?"
                for row in self._db.execute(query, (value, _NEAR)):
                    found[row[0]] = _record(row)
        return sorted(found.values(), key=_newest_first)[:_NEAR]

    @_healing
    def records(self) -> Sequence[Record]:
        """Return every record, oldest use first."""
        with self._lock:
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM record ORDER BY last_used_at, id")
            return [_record(row) for row in rows]

    @_healing
    def delete(self, record_ids: Sequence[str]) -> None:
        """Forget records and their links."""
        with self._lock, _Transaction(self._db):
            ids = [(id_,) for id_ in record_ids]
            self._db.executemany("DELETE FROM record WHERE id = ?", ids)
            self._db.executemany("DELETE FROM link WHERE record_id = ?", ids)

    @_healing
    def durations(self, digests: Sequence[str]) -> Mapping[str, float]:
        """Return the last known duration of each op digest that has one."""
        out: dict[str, float] = {}
        with self._lock:
            for start in range(0, len(digests), _MANY):
                part = digests[start : start + _MANY]
                # max() makes SQLite take the other columns from the row that has it.
                rows = self._db.execute(
                    f"SELECT digest, duration, max(created_at) FROM record WHERE digest IN ({_marks(part)}) GROUP BY digest",
                    tuple(part),
                )
                out.update((digest, duration) for digest, duration, _ in rows)
        return out

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _select_ids(self, ids: Sequence[str]) -> list[Record]:
        found: list[Record] = []
        for start in range(0, len(ids), _MANY):
            part = ids[start : start + _MANY]
            query = f"SELECT {_COLUMNS} FROM record WHERE id IN ({_marks(part)})"
            found += [_record(row) for row in self._db.execute(query, part)]
        return sorted(found, key=_newest_first)

    def _new_links(self, record_id: str, links: Sequence[Link]) -> bool:
        query = "SELECT digest, input, selector, key FROM link WHERE record_id = ?"
        known = {Link(*row) for row in self._db.execute(query, (record_id,))}
        return not known.issuperset(links)

    def _add(self, record_id: str, links: Sequence[Link]) -> None:
        self._db.executemany(
            "INSERT INTO link (digest, input, selector, key, record_id) VALUES (?,?,?,?,?) ON CONFLICT DO NOTHING",
            [(link.digest, link.index, link.selector, link.key, record_id) for link in links],
        )


class _Transaction:
    """One write transaction; rolled back if its block fails."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            try:
                self._db.execute("COMMIT")
                return
            except sqlite3.Error:
                self._roll_back()
                raise
        self._roll_back()

    def _roll_back(self) -> None:
        with contextlib.suppress(
            sqlite3.OperationalError
        ):  # SQLite has done so itself, for example on a full disk
            self._db.execute("ROLLBACK")


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA synchronous = NORMAL")
        if _version(db) != _VERSION:
            # Of all that processes do at once, only the change to write-ahead mode does not wait by itself.
            _patiently(lambda: db.execute("PRAGMA journal_mode = WAL"))
            with _Transaction(db):
                if _version(db) != _VERSION:
                    _create(db)
    except BaseException:
        db.close()
        raise
    return db


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _create(db: sqlite3.Connection) -> None:
    for table in _TABLES:
        db.execute(f"DROP TABLE IF EXISTS {table}")
    for statement in _SCHEMA.split(";"):
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {_VERSION}")


def _patiently(action: Callable[[], T]) -> T:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.005)


def _newest_first(record: Record) -> tuple[float, str]:
    return -record.created_at, record.id


def _marks(values: Sequence[str]) -> str:
    return ",".join("?" * len(values))


def _dump(ingredients: Mapping[str, Json]) -> str:
    return json.dumps(ingredients, separators=(",", ":"), default=dict)


def _record(row: tuple[Any, ...]) -> Record:
    """Read a row. Raises DamagedRowError."""
    id_, digest, tokens, name, ingredients, created_at, last_used_at, used, duration = row
    try:
        return Record(
            id=str(id_),
            digest=str(digest),
            tokens=tuple(map(str, json.loads(tokens))),
            name=str(name),
            ingredients=dict(json.loads(ingredients)),
            created_at=float(created_at),
            last_used_at=float(last_used_at),
            used=int(used),
            duration=float(duration),
        )
    except (TypeError, ValueError) as error:
        raise DamagedRowError(f"unreadable record: {error}") from error
