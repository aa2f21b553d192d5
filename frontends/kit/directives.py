# SPDX-License-Identifier: Apache-2.0
"""Directives at the very top of a program of any language; ``# syntax=`` names the frontend that is to read it."""

from __future__ import annotations

import json
import re

from llbkit.grammar import Source, Span
from llbkit.grammar.patterns.match import SPACE
from llbkit.records import dataclass

NAMES = frozenset({"syntax", "escape", "check"})
_GAP = r"[\t\n\f\r ]*"
# Any space of Unicode may stand before the name, only that of ASCII around the value.
_FORM = rf"[{SPACE}]*([a-zA-Z][a-zA-Z0-9]*){_GAP}={_GAP}(.+)$"
_SPACE = "\t\n\f\r "
HASH = re.compile(f"#{_FORM}")
_SLASHES = re.compile(f"//{_FORM}")


@dataclass(frozen=True, slots=True)
class Directive:
    """A parser directive (``# name=value``) at the top of a file."""

    name: str
    value: str
    line: int
    """1-based; 0 for a ``syntax`` key of a JSON file."""
    span: Span

    @property
    def first_word(self) -> str:
        """The value up to the first space: what ``syntax`` and ``check`` really use."""
        return self.value.partition(" ")[0]


def detect_syntax(source: Source) -> Directive | None:
    """Return the ``syntax`` directive, which may also be a ``//`` comment or a key of a JSON file."""
    for pattern in (HASH, _SLASHES):
        for number in range(first_line(source), source.line_count + 1):
            match = pattern.match(directive_line(source, number))
            if match is None or match[1].lower() not in NAMES:
                break
            if match[1].lower() == "syntax":
                return Directive("syntax", directive_value(match), number, source.lines(number, number))
    try:
        data = json.loads(source.text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return None
    if isinstance(data, dict) and isinstance(data.get("syntax"), str):
        return Directive("syntax", data["syntax"], 0, source.span(0, 0))
    return None


def directive_value(match: re.Match[str]) -> str:
    """Return the value without the space after it; of a value of spaces one stays."""
    return match[2].rstrip(_SPACE) or match[2]


def has_shebang(source: Source) -> bool:
    """Return whether the file starts with a ``#!`` line."""
    return source.text.removeprefix("\ufeff").startswith("#!")


def first_line(source: Source) -> int:
    """Return the first line that may be a directive: the one after a ``#!`` line."""
    return 2 if has_shebang(source) else 1


def directive_line(source: Source, number: int) -> str:
    """Return a line as a directive is looked for in it."""
    text = source.line(number)
    return (text.removeprefix("\ufeff") if number == 1 else text).lstrip(SPACE)
