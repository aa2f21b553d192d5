# SPDX-License-Identifier: Apache-2.0
"""The worker's database: one SQLite file in write-ahead mode, shared by threads and processes.

Each part of the worker owns its tables and names them with `Metadata.register`. Whatever changes several rows is one
`Metadata.transaction`.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Metadata:
    """Connections to ``path``, one for each thread.

    Raises:
        sqlite3.Error: the file cannot be opened or is no database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._lock = threading.Lock()
        self._connections: list[sqlite3.Connection] = []
        self._closed = False

    def connection(self) -> sqlite3.Connection:
        """Return this thread's connection, in autocommit mode."""
        found = getattr(self._local, "connection", None)
        if found is None:
            found = sqlite3.connect(self._path, timeout=60, isolation_level=None, check_same_thread=False)
            found.execute("PRAGMA synchronous = NORMAL")
            if found.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                found.execute("PRAGMA journal_mode = WAL")
            self._local.connection = found
            with self._lock:
                self._connections.append(found)
        assert isinstance(found, sqlite3.Connection)
        return found

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a block as one write transaction; it is rolled back if the block fails. Does not nest."""
        db = self.connection()
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a reading statement."""
        return self.connection().execute(sql, parameters).fetchall()

    def register(self, name: str, version: int, ddl: str) -> None:
        """Create the tables of one owner, once. ``ddl`` holds statements separated by semicolons.

        The version is part of the stored name: another version's tables are not touched, so ``ddl`` names its tables anew
        when their shape changes.
        """
        key = f"{name}:{version}"
        try:
            if self.query("SELECT 1 FROM schema_owner WHERE name = ?", (key,)):
                return
        except sqlite3.OperationalError:
            self.connection().execute(
                "CREATE TABLE IF NOT EXISTS schema_owner (name TEXT PRIMARY KEY) WITHOUT ROWID"
            )
        with self.transaction() as db:
            if db.execute("SELECT 1 FROM schema_owner WHERE name = ?", (key,)).fetchone() is None:
                for statement in filter(str.strip, ddl.split(";")):
                    db.execute(statement)
                db.execute("INSERT INTO schema_owner (name) VALUES (?)", (key,))

    def close(self) -> None:
        """Close every connection; the object is not used afterwards."""
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
