# SPDX-License-Identifier: Apache-2.0
"""The worker's database: one SQLite file in write-ahead mode, shared by threads and processes.

Each part of the worker owns its tables and names them with `Metadata.register`. Whatever changes several rows is one
`Metadata.transaction`.

Durability: a commit survives the death of the process at once, and a power loss from the next checkpoint on
(``synchronous = NORMAL``); the file is consistent in either case.
"""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llbkit.solver.cache.damage import FileId, Notice, guarded, is_damage
from llbkit.worker.base import StorageError

CONSEQUENCE = "local images are lost and steps run again"
"""What it means for users that the database is lost."""
_FREE = "free space with `llbkit prune`, or choose another --root"
_DAMAGED = "move the state directory away or choose another --root"
_HELP = {
    sqlite3.SQLITE_FULL: _FREE,
    sqlite3.SQLITE_IOERR: _FREE,
    sqlite3.SQLITE_READONLY: "choose a --root on a writable filesystem",
    sqlite3.SQLITE_CANTOPEN: "choose a writable --root",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_BUSY: "another process is using the state directory; wait for it or choose another --root",
}


class DamagedDatabaseError(StorageError):
    """The database was corrupt and has been moved aside: whoever opens the state directory next begins with a new one."""


class _Held:
    """A connection that is closed when its thread ends."""

    __slots__ = ("__weakref__", "db")

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def __del__(self) -> None:
        self.db.close()


class Metadata:
    """Connections to ``path``, one for each thread. Methods raise `StorageError` if the disk or the file fails.

    A damaged file is moved aside when that is found, ``notice`` is called, and `DamagedDatabaseError` is raised from then on:
    what this process knows of layers and leases was in it.
    """

    def __init__(self, path: Path, notice: Notice = lambda text: None) -> None:
        self._path = path
        self._notice = notice
        self.damaged = False
        self._local = threading.local()
        self._lock = threading.Lock()
        self._held: weakref.WeakSet[_Held] = weakref.WeakSet()
        self._file: FileId | None = None

    def connection(self) -> sqlite3.Connection:
        """Return this thread's connection, in autocommit mode."""
        held: _Held | None = getattr(self._local, "held", None)
        if held is None:
            with self._errors():
                held = self._open()
            self._local.held = held
            with self._lock:
                self._held.add(held)
        return held.db

    def _open(self) -> _Held:
        with guarded(self._path) as file:
            held = _Held(
                sqlite3.connect(self._path, timeout=60, isolation_level=None, check_same_thread=False)
            )
            with self._lock:
                self._file = self._file or file.id()
                if self._file != file.id():  # another process has begun anew
                    self.damaged = True
                    held.db.close()
                    raise self._moved()
            held.db.execute("PRAGMA synchronous = NORMAL")
            if held.db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                held.db.execute("PRAGMA journal_mode = WAL")
        return held

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a block as one write transaction; it is rolled back if the block fails. Does not nest."""
        db = self.connection()
        with self._errors():
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # some failures end it themselves
                    db.execute("ROLLBACK")
                raise

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a reading statement."""
        with self._errors():
            return self.connection().execute(sql, parameters).fetchall()

    def register(self, name: str, version: int, ddl: str) -> None:
        """Create the tables of one owner, once. ``ddl`` holds statements separated by semicolons.

        The version is part of the stored name: another version's tables are not touched, so ``ddl`` creates its own
        when their shape changes.
        """
        key = f"{name}:{version}"
        if not self.query("SELECT 1 FROM sqlite_master WHERE name = 'schema_owner'"):  # a new file
            with self.transaction() as db:
                db.execute("CREATE TABLE IF NOT EXISTS schema_owner (name TEXT PRIMARY KEY) WITHOUT ROWID")
        elif self.query("SELECT 1 FROM schema_owner WHERE name = ?", (key,)):
            return
        with self.transaction() as db:
            if db.execute("SELECT 1 FROM schema_owner WHERE name = ?", (key,)).fetchone() is None:
                for statement in filter(str.strip, ddl.split(";")):
                    db.execute(statement)
                db.execute("INSERT INTO schema_owner (name) VALUES (?)", (key,))

    def close(self) -> None:
        """Close every connection; the object is not used afterwards."""
        with self._lock:
            for held in tuple(self._held):
                held.db.close()
            self._held.clear()

    def _put_aside(self, error: sqlite3.Error) -> None:
        if self.damaged:
            return
        with guarded(self._path) as file, self._lock:
            if not self.damaged:
                self.damaged = True
                file.put_aside(self._file, error, self._notice, CONSEQUENCE)

    def _moved(self) -> DamagedDatabaseError:
        return DamagedDatabaseError(
            f"the database {self._path} was corrupt and has been moved aside", help="run the command again"
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            advice = help_for(error)
            if is_damage(error):
                self._put_aside(error)
                raise self._moved() from error
            if advice is None:
                raise
            raise StorageError(f"{error}: the database {self._path} cannot be used", help=advice) from error


def help_for(error: sqlite3.Error) -> str | None:
    """Return what a user can do about a failure of a database of the state directory; None if it is a bug."""
    return _HELP.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
