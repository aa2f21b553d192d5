# SPDX-License-Identifier: Apache-2.0
"""Detect databases that changed while no process used them.

The last process to close the state directory notes their size, times and place. If they are different when the next one
opens it (the machine crashed, a backup was restored, a disk or a person changed bytes), every page is read once, and a
database that is not sound is moved aside before it is used. A normal start costs a stat for each.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from llbkit.solver.cache.damage import Notice, check, guarded


class Vetting:
    """Looks after the databases of a state directory.

    ``databases`` has the paths, each with what its loss means, in words that end a sentence; ``stamp`` is where to note.
    """

    def __init__(self, databases: Mapping[Path, str], stamp: Path, notice: Notice) -> None:
        self._databases = databases
        self._stamp = stamp
        self._notice = notice

    def before(self) -> None:
        """Move damaged databases aside. No other process uses them.

        Raises:
            sqlite3.Error: one cannot be read, for another reason than its content.
        """
        found = self._found()
        if found and found == self._noted():
            return
        for path, consequence in self._databases.items():
            with guarded(path) as file:
                if path.exists() and (why := check(path)):
                    file.put_aside(file.id(), why, self._notice, consequence)

    def after(self) -> None:
        """Note how the databases are left, unless another process still has one open, which will do so."""
        found = self._found()
        if found and found != self._noted():
            with suppress(OSError):  # without the note they are read again
                self._stamp.write_text(found)

    def _found(self) -> str:
        """Describe the databases; "" if one is open, or was so when the machine or a process ended."""
        if any(_size(f"{path}-wal") for path in self._databases):
            return ""
        return "\n".join(_state(path) for path in self._databases)

    def _noted(self) -> str:
        try:
            return self._stamp.read_text()
        except (OSError, ValueError):
            return ""


def _state(path: Path) -> str:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return "none"
    return f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
