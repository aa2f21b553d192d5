# SPDX-License-Identifier: Apache-2.0
"""Index over many patterns: which of them could match a path, found by the literal text each requires.

An ignore file may have thousands of lines. To ask each of them about each path takes their product; here a path is cut
into short pieces, and only the patterns that wait for one of these are asked. What is found is a superset, so the answer
is the same as without.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

MANY = 32
"""From so many patterns on an index is faster than to ask them all."""

_GRAM = 3
_SPECIAL = re.compile(r"[*?\[\]\\^]")
_ESCAPE = re.compile(r"\\.", re.DOTALL)


class PatternIndex:
    """An index over cleaned patterns without their ``!``, by their position.

    ``always`` are positions of patterns that must be asked for every path.
    """

    def __init__(self, texts: Sequence[str], always: Iterable[int] = ()) -> None:
        self._always = sorted(always)
        self._exact: dict[str, list[int]] = {}
        self._grams: dict[int, dict[str, list[int]]] = {size: {} for size in range(1, _GRAM + 1)}
        skipped = set(self._always)
        waiting: list[tuple[int, list[str]]] = []
        for position, text in enumerate(texts):
            if position in skipped:
                continue
            if not _SPECIAL.search(text):
                self._exact.setdefault(text, []).append(position)
            else:
                waiting.append((position, _grams(text)))
        common = Counter(gram for _, grams in waiting for gram in set(grams))
        for position, grams in waiting:
            if grams:
                rarest = min(grams, key=lambda gram: (-len(gram), common[gram]))
                self._grams[len(rarest)].setdefault(rarest, []).append(position)
            else:
                self._always.append(position)
        self._grams = {size: table for size, table in self._grams.items() if table}

    def candidates(self, path: str) -> set[int]:
        """Return the positions of all patterns that match ``path``, and of some that do not."""
        found = {*self._always, *self._exact.get(path, ())}
        for size, table in self._grams.items():
            for gram in {path[at : at + size] for at in range(len(path) - size + 1)}:
                if gram in table:
                    found.update(table[gram])
        return found


def _grams(text: str) -> list[str]:
    """Return pieces of a pattern, all of one length, that every match holds as they are; none if there are none."""
    # What is between the first and the last bracket may be a class, and a "/" after "**" may match nothing.
    parts = [text] if "[" not in text else [text.partition("[")[0], text.rpartition("]")[2]]
    literals = [
        piece
        for part in parts
        for piece in _SPECIAL.split(_ESCAPE.sub("*", part).replace("**/", "*"))
        if piece
    ]
    size = min(_GRAM, max(map(len, literals), default=0))
    return (
        [piece[at : at + size] for piece in literals for at in range(len(piece) - size + 1)] if size else []
    )
