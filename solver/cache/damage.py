# SPDX-License-Identifier: Apache-2.0
"""Damaged SQLite files: tell them from other failures, detect them, and move them out of the way.

A database of the state directory can be made again, so a damaged one is renamed and a new one begun. It is never deleted:
its owner may want to look at it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

Notice = Callable[[str], None]
"""Called with one line for users: what was damaged and what happened to it."""

_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_SIGNS = ("no such table", "no such column", "malformed", "could not decode to utf-8")
"""What SQLite says, with no code of its own, when bytes of the schema or of texts have changed."""
_PARTS = ("", "-wal", "-shm")


class DamagedRowError(sqlite3.DatabaseError):
    """A row holds values that this program never writes."""


def is_damage(error: BaseException) -> bool:
    """Return whether a failure means that the file's content has been changed by something else than SQLite."""
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    if isinstance(error, DamagedRowError) or getattr(error, "sqlite_errorcode", 0) & 0xFF in _CODES:
        return True
    return str(error).lower().startswith(_SIGNS)


def put_aside(path: Path, why: object, notice: Notice, consequence: str) -> None:
    """Rename a database, with its log, so that a new one can be made in its place."""
    name = f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{time.monotonic_ns() % 1_000_000:06}"
    for part in _PARTS:
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + part).rename(path.with_name(name + part))
    notice(f"{path} is damaged ({why}): renamed to {name}; {consequence}")


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
