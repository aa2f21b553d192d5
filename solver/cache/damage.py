# SPDX-License-Identifier: Apache-2.0
"""Damaged SQLite files: tell them from other failures, detect them, and move them out of the way.

A database of the state directory can be made again, so a damaged one is renamed and a new one begun. It is never deleted:
its owner may want to look at it.

Several processes may meet the same damage. Files are opened and renamed only under a lock (`guarded`), and what was found in
an open file counts only while that file is still at its path: nobody moves the new database of another process aside, or
opens a database and the log of another one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from llbkit.filelock import locked
from llbkit.records import dataclass

Notice = Callable[[str], None]
"""Called with one line for users: what was damaged and what happened to it."""

_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_SIGNS = ("no such table", "no such column", "malformed", "could not decode to utf-8")
"""What SQLite says, with no code of its own, when bytes of the schema or of texts have changed."""
_PARTS = ("", "-wal", "-shm")
_PATIENCE = 60.0
"""Seconds to wait for another process that opens, or reads all of, a database."""
_LOCK_ERRORS = {
    errno.EROFS: sqlite3.SQLITE_READONLY,
    errno.ENOSPC: sqlite3.SQLITE_FULL,
    errno.EDQUOT: sqlite3.SQLITE_FULL,
}

FileId = tuple[int, int]
"""Device and inode: which file it is that has a path."""


class DamagedRowError(sqlite3.DatabaseError):
    """A row holds values that this program never writes."""


def is_damage(error: BaseException) -> bool:
    """Return whether a failure means that the file's content has been changed by something else than SQLite."""
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    if isinstance(error, DamagedRowError) or getattr(error, "sqlite_errorcode", 0) & 0xFF in _CODES:
        return True
    return str(error).lower().startswith(_SIGNS)


@dataclass(frozen=True)
class GuardedFile:
    """A database that no other process opens or renames meanwhile."""

    path: Path

    def id(self) -> FileId | None:
        """Return which file is at the path, None if there is none."""
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    def put_aside(self, damaged: FileId | None, why: object, notice: Notice, consequence: str) -> None:
        """Rename a database, with its log, so that a new one can be made in its place.

        Nothing happens if ``damaged``, the file in which damage was found, is no longer at the path.
        """
        if damaged is None or damaged != self.id():
            return
        path = self.path
        name = f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{time.monotonic_ns() % 1_000_000:06}"
        for part in _PARTS:
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + part).rename(path.with_name(name + part))
        notice(f"{path} is damaged ({why}): renamed to {name}; {consequence}")


@contextmanager
def guarded(path: Path) -> Iterator[GuardedFile]:
    """Keep other processes and threads from opening or renaming a database. Does not nest.

    Raises:
        sqlite3.OperationalError: the lock, a file beside the database, cannot be made or had.
    """
    lock = path.with_name(f"{path.name}.lock")
    if not path.parent.is_dir():  # the lock would make it
        raise _failure(f"{path.parent} does not exist", sqlite3.SQLITE_CANTOPEN)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(lock, timeout=_PATIENCE))
        except TimeoutError:
            raise _failure(f"{lock} is held by another process", sqlite3.SQLITE_BUSY) from None
        except OSError as error:
            raise _failure(
                f"{lock}: {error.strerror}", _LOCK_ERRORS.get(error.errno or 0, sqlite3.SQLITE_CANTOPEN)
            ) from error
        yield GuardedFile(path)


def _failure(text: str, code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


def check(path: Path) -> str:
    """Read all of a database; return what is wrong with it, "" if nothing.

    Raises:
        sqlite3.Error: it cannot be read, for another reason than its content.
    """
    db = sqlite3.connect(path, timeout=60)
    try:
        found = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        found = str(error)
    finally:
        db.close()
    return "" if found == "ok" else " ".join(str(found).split())
