# SPDX-License-Identifier: Apache-2.0
"""Where the directories of a layer are, after some of them were moved to where links of the layers below lead."""

from __future__ import annotations

import errno
import os

_MAX_LINKS = 255
"""How many links one path may pass, as in `llbkit.worker.fs.rootpath`."""


class Moves:
    """Moves of directories, in order. A later move may concern what an earlier one has brought.

    Cost of a call: linear in the components of a path, for every move that the path takes part in. It does not grow with
    the moves of other directories, of which a layer may have any number.
    """

    def __init__(self) -> None:
        self._root = _Name()
        self._count = 0

    def add(self, path: str, target: str) -> None:
        """Note that the directory that is now at ``path`` was moved to ``target``; "" is the layer's root."""
        name = self._root
        for part in path.split("/"):
            name = name.below.setdefault(part, _Name())
        self._count += 1
        name.order, name.target = self._count, target

    def locate(self, path: str) -> str:
        """Return where that which was at ``path`` before any move is now.

        Raises:
            OSError: ELOOP if it was moved more than 255 times.
        """
        done = 0
        for _ in range(_MAX_LINKS + 1):
            found = self._next(path, done)
            if found is None:
                return path
            move, rest = found
            done = move.order
            path = "/".join([move.target, *rest] if move.target else rest)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path[:100])

    def _next(self, path: str, done: int) -> tuple[_Name, list[str]] | None:
        """Return the first move after the one numbered ``done`` that concerns a path, and what of the path is below it."""
        if not self._root.below:
            return None
        best, depth = None, 0
        parts = path.split("/")
        below = self._root.below
        for number, part in enumerate(parts, 1):
            name = below.get(part)
            if name is None:
                break
            below = name.below
            if name.order > done and (best is None or name.order < best.order):
                best, depth = name, number
        return None if best is None else (best, parts[depth:])


class _Name:
    """A component of the paths of moved directories; ``order`` is 0 if nothing was moved from here."""

    __slots__ = ("below", "order", "target")

    def __init__(self) -> None:
        self.below: dict[str, _Name] = {}
        self.order = 0
        self.target = ""
