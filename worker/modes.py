# SPDX-License-Identifier: Apache-2.0
"""Symbolic file modes, as chmod(1) writes them: ``u=rwX,go=rX``."""

from __future__ import annotations

import re
from collections.abc import Callable

from worker.base import FileOpError

_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)")
_STEP = re.compile(r"([-+=])([ugo]|[rwxXst]*)")
_SHIFT = {"u": 6, "g": 3, "o": 0}
_PERMISSION = {"r": 4, "w": 2, "x": 1}
_SPECIAL = {"u": 0o4000, "g": 0o2000, "o": 0}

ModeChange = Callable[[int, bool], int]
"""``change(mode, is_dir)`` returns the new permission bits."""


def parse_mode(text: str) -> ModeChange:
    """Compile a symbolic or octal mode. A clause without ``ugoa`` is for all, without regard to the umask.

    Raises:
        FileOpError: it is malformed.
    """
    if re.fullmatch("[0-7]{1,4}", text):
        number = int(text, 8)
        return lambda mode, is_dir: number
    clauses = []
    for part in text.split(","):
        found = _CLAUSE.fullmatch(part)
        if found is None:
            raise FileOpError(
                f"bad file mode {text!r}", help="write it as for chmod, e.g. u=rwX,go=rX or 0644"
            )
        who = "ugo" if not found.group(1) or "a" in found.group(1) else found.group(1)
        clauses += [(who, sign, what) for sign, what in _STEP.findall(found.group(2))]

    def change(mode: int, is_dir: bool) -> int:
        for who, sign, what in clauses:
            mode = _apply(mode, is_dir, who, sign, what)
        return mode

    return change


def _apply(mode: int, is_dir: bool, who: str, sign: str, what: str) -> int:
    bits = cleared = 0
    for letter in dict.fromkeys(who):
        shift = _SHIFT[letter]
        bits |= _class_bits(mode, is_dir, what) << shift
        cleared |= 0o7 << shift
        if "s" in what:
            bits |= _SPECIAL[letter]
        if not is_dir:
            cleared |= _SPECIAL[letter]
    if "t" in what:
        bits |= 0o1000
    if sign == "+":
        return mode | bits
    if sign == "-":
        return mode & ~bits
    return mode & ~cleared | bits


def _class_bits(mode: int, is_dir: bool, what: str) -> int:
    if what in _SHIFT and what:
        return mode >> _SHIFT[what] & 0o7
    bits = sum(_PERMISSION[letter] for letter in set(what) if letter in _PERMISSION)
    if "X" in what and (is_dir or mode & 0o111):
        bits |= 1
    return bits
