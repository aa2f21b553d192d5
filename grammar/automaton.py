# SPDX-License-Identifier: Apache-2.0
r"""Patterns with many wildcards, matched in time linear in the text, as Go's RE2 does.

Python's `re` backtracks: each further star may multiply the time by the length of the text. Here all positions that a
match may have reached are followed at once, as the bits of one integer, and each step from a set of positions with a
character is worked out once and kept. That is slower for the usual pattern and never slow, so it is for patterns with
more than `FEW` stars.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from llbkit.records import dataclass

FEW = 2
"""With so many stars, backtracking is cheap enough for short texts such as paths."""

_KEPT_BITS = 2_000_000


@dataclass(frozen=True, slots=True)
class Item:
    """One part of a pattern: a character that ``test`` matches, or any number of them if it ``repeats``.

    Without ``test``, the item is passed without a character: always, or with ``holds`` only between two characters that it
    allows ("" at either end). ``skip`` items from here on may be left out together; what repeats cannot begin them, for it
    is here again after each character.
    """

    test: re.Pattern[str] | None
    repeats: bool = False
    skip: int = 0
    holds: Callable[[str, str], bool] | None = None


class Automaton:
    """Follows a sequence of items through a text. Cost of a match: the text's length (times items/64, at worst)."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = tuple(items)
        self._final = 1 << len(self._items)
        self._kept = max(64, _KEPT_BITS // (len(self._items) + 1))
        self._asserts = any(item.holds is not None for item in items)
        self._masks: dict[str, tuple[int, int]] = {}
        self._steps: dict[tuple[int, str, str], int] = {}

    def fullmatch(self, text: str) -> bool:
        """Return whether the whole text matches."""
        states = self._closed(1, "", text[:1])
        for place, char in enumerate(text, 1):
            if not states:
                return False
            states = self._after(states, char, text[place : place + 1])
        return bool(states & self._final)

    def ends(self, text: str, start: int = 0) -> Iterator[int]:
        """Yield where matches that begin at ``start`` end, the shortest first."""
        states = self._closed(1, text[start - 1 : start] if start else "", text[start : start + 1])
        place = start
        while states:
            if states & self._final:
                yield place
            if place >= len(text):
                return
            states = self._after(states, text[place], text[place + 1 : place + 2])
            place += 1

    def all_ends(self, text: str) -> list[int]:
        """Return where matches that begin anywhere end, in order. Only for items without ``holds``."""
        begin = states = self._closed(1, "", "")
        found = [0] if states & self._final else []
        for place, char in enumerate(text, 1):
            states = self._after(states, char, "") | begin
            if states & self._final:
                found.append(place)
        return found

    def reversed(self) -> Automaton:
        """Return the automaton of the reversed texts. Only for items without ``skip`` and ``holds``."""
        return Automaton(self._items[::-1])

    def _after(self, states: int, char: str, following: str) -> int:
        """Return where ``char`` leads to. ``following`` counts only for items with ``holds``."""
        key = (states, char, following if self._asserts else "")
        known = self._steps.get(key)
        if known is None:
            if len(self._steps) >= self._kept:
                self._steps.clear()
            single, loop = self._masks_of(char)
            known = self._closed((states & single) << 1 | (states & loop), char, following)
            self._steps[key] = known
        return known

    def _masks_of(self, char: str) -> tuple[int, int]:
        """Return the positions that a character leads on from, and those that it stays at."""
        known = self._masks.get(char)
        if known is None:
            single, loop = [], []
            for item in self._items:
                fits = item.test is not None and item.test.fullmatch(char) is not None
                single.append("1" if fits and not item.repeats else "0")
                loop.append("1" if fits and item.repeats else "0")
            known = (_bits(single), _bits(loop))
            self._masks[char] = known
        return known

    def _closed(self, states: int, before: str, following: str) -> int:
        """Add the positions that are reached without a character."""
        pending = states
        while pending:
            low = pending & -pending
            pending ^= low
            place = low.bit_length() - 1
            if place >= len(self._items):
                continue
            item = self._items[place]
            reached = 0
            if item.repeats or (item.test is None and (item.holds is None or item.holds(before, following))):
                reached = low << 1
            if item.skip:
                reached |= low << item.skip
            new = reached & ~states
            states |= new
            pending |= new
        return states


def _bits(flags: list[str]) -> int:
    return int("".join(reversed(flags)), 2) if flags else 0
