# SPDX-License-Identifier: Apache-2.0
"""Comma-separated fields as Go's CSV reader takes them: mounts, devices and frontend attributes are written, through ``grammar/flags.lark``."""

from __future__ import annotations

from functools import lru_cache
from typing import NoReturn

from llbkit.grammar.lift import Leaf, Lifter
from llbkit.grammar.loader import load
from llbkit.records import dataclass


class CSVError(ValueError):
    """The text is malformed; the message is that of Go's CSV reader, ``at`` the offset that it is about."""

    def __init__(self, message: str, at: int = 0) -> None:
        super().__init__(message)
        self.at = at


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its text without CSV quotes, and the half-open range that it takes, quotes included.

    ``shift`` is where the text itself begins; of a text with doubled quotes only the range is exact.
    """

    text: str
    start: int
    end: int
    shift: int

    @property
    def key(self) -> str:
        """What stands before the first ``=``; all of it if there is none."""
        return self.text.partition("=")[0]

    @property
    def value(self) -> str | None:
        """What stands after the first ``=``; None if there is none."""
        _, equals, value = self.text.partition("=")
        return value if equals else None

    @property
    def key_range(self) -> tuple[int, int]:
        """The range of the key; of the field if the key is empty."""
        return (self.shift, self.shift + len(self.key)) if self.key else (self.start, self.end)

    @property
    def value_range(self) -> tuple[int, int]:
        """The range of the value; of the field if there is none, or an empty one."""
        if not self.value:
            return self.start, self.end
        begin = self.shift + len(self.key) + 1
        return begin, min(begin + len(self.value), self.end)


def fields(text: str) -> tuple[Field, ...]:
    """Return the fields of a text, at least one. Cost: linear; those of short texts are kept.

    Raises:
        CSVError: the text is empty, or a quote stands where none may or does not end.
    """
    if not text:
        raise CSVError("EOF")
    return (_kept if len(text) <= _KEPT_LENGTH else _read)(text)


def texts(text: str) -> list[str]:
    """Return the fields of a text as plain texts. Raises CSVError."""
    return [field.text for field in fields(text)]


# The tree. Classes are named after the rules of flags.lark.


@dataclass(frozen=True, slots=True)
class _Option:
    parts: tuple[Leaf, ...]


@dataclass(frozen=True, slots=True)
class _Quoted:
    text: Leaf


@dataclass(frozen=True, slots=True)
class _Stray:
    parts: tuple[Leaf, ...]


@dataclass(frozen=True, slots=True)
class _Open:
    text: Leaf


@dataclass(frozen=True, slots=True)
class _Trailing:
    text: Leaf
    rest: Leaf


_LIFTER = Lifter((_Option, _Quoted, _Stray, _Open, _Trailing))
_KEPT_LENGTH = 1000


def _read(text: str) -> tuple[Field, ...]:
    out: list[Field] = []
    at = 0
    for item in _LIFTER.lift(load("llbkit.grammar", "flags").parse(text)):
        match item:
            case _Option(parts):
                words = "".join(part.text for part in parts)
                out.append(Field(words, at, at + len(words), at))
            case _Quoted(leaf):
                out.append(Field(leaf.text[1:-1].replace('""', '"'), leaf.start, leaf.end, leaf.start + 1))
            case _:
                _refuse(text, item)
        at = out[-1].end + 1
    return tuple(out)


_kept = lru_cache(maxsize=1024)(_read)


def _refuse(text: str, item: _Stray | _Open | _Trailing) -> NoReturn:
    match item:
        case _Stray(parts):
            at, message = parts[-1].start, 'bare " in non-quoted-field'
        case _Open(leaf):
            at, message = leaf.start + leaf.text.rindex('"') + 1, 'extraneous or missing " in quoted-field'
        case _Trailing(quoted, _):
            at, message = quoted.end - 1, 'extraneous or missing " in quoted-field'
    column = len(text[:at].encode("utf-8", "surrogateescape")) + 1
    raise CSVError(f"parse error on line 1, column {column}: {message}", min(at, len(text) - 1))
