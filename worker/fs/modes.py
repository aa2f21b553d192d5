# SPDX-License-Identifier: Apache-2.0
"""Symbolic file modes, as chmod(1) writes them: ``u=rwX,go=rX``.

Special bits are BuildKit's, which differ from chmod(1): ``=`` clears the set-id bits of directories too, but not where it
copies permissions (``u=g``); ``t`` counts for ``u``, ``g`` and ``a``; without any of ``ugoa``, ``t`` leaves everything else
beside it without effect; ``X`` looks at the mode before the first clause.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from llbkit.worker.base import FileOpError

_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=][ugorwxXst]*)+)")
_STEP = re.compile(r"([-+=])([ugorwxXst]*)")
_WHAT = re.compile(r"[ugo]|[rwxXst]+")
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
            raise FileOpError(f"bad file mode {text!r}", help="use chmod notation, e.g. 0644 or u=rwX,go=rX")
        clauses += [
            (found.group(1), sign, what)
            for sign, all_of_it in _STEP.findall(found.group(2))
            for what in _WHAT.findall(all_of_it) or ("",)
        ]

    def change(mode: int, is_dir: bool) -> int:
        executable = is_dir or bool(mode & 0o111)
        for who, sign, what in clauses:
            mode = _apply(mode, executable, who, sign, what)
        return mode

    return change


def _apply(mode: int, executable: bool, who: str, sign: str, what: str) -> int:
    if not who and "t" in what:
        return mode & ~0o1000 if sign == "-" else mode | 0o1000
    letters = set("ugo") if not who or "a" in who else set(who)
    copied = what in _SHIFT
    bits = cleared = 0
    for letter in letters:
        shift = _SHIFT[letter]
        bits |= (mode >> _SHIFT[what] & 0o7 if copied else _permissions(what, executable)) << shift
        cleared |= 0o7 << shift
        if "s" in what:
            bits |= _SPECIAL[letter]
        if not copied:
            cleared |= _SPECIAL[letter]
    if "t" in what and letters != {"o"}:
        bits |= 0o1000
    if sign == "+":
        return mode | bits
    if sign == "-":
        return mode & ~bits
    return mode & ~cleared | bits


def _permissions(what: str, executable: bool) -> int:
    bits = sum(_PERMISSION[letter] for letter in set(what) if letter in _PERMISSION)
    return bits | 1 if "X" in what and executable else bits
