# SPDX-License-Identifier: Apache-2.0
"""How a language calls its files."""

from __future__ import annotations

import posixpath

from llbkit.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramFile:
    """How a language calls its files: in options (``name``, where none is given), for editors and in errors.

    ``spelling`` is how the base name may be spelt instead.
    """

    name: str
    language: str
    noun: str
    spelling: str = ""

    def candidates(self, path: str) -> list[str]:
        """Return the paths at which a program may be, the given one first."""
        folder, base = posixpath.split(path)
        other = self.spelling and base == self.name
        return [path, posixpath.join(folder, self.spelling)] if other else [path]
