# SPDX-License-Identifier: Apache-2.0
"""Words of the tree: texts that know where they stand in the source, character by character."""

from __future__ import annotations

import re
from bisect import bisect_right
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Self

from llbkit.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llbkit.grammar import Source, Span


@dataclass(frozen=True, slots=True)
class LineMap:
    """A joined (continued) line or the body of a heredoc, and where its characters stand in the source.

    ``starts`` are offsets in ``text``, ascending from 0; ``offsets`` the source offsets they come from. Between two starts
    the text is contiguous in the source.
    """

    source: Source
    text: str
    starts: tuple[int, ...]
    offsets: tuple[int, ...]

    def offset(self, position: int) -> int:
        """Return the source offset of ``position`` in the text."""
        piece = max(0, bisect_right(self.starts, position) - 1)
        return self.offsets[piece] + position - self.starts[piece]

    def span(self, start: int, end: int) -> Span:
        """Return the source span of the half-open range of the text."""
        begin = self.offset(start)
        return self.source.span(begin, self.offset(end - 1) + 1 if end > start else begin)


class Form(Enum):
    """How a word is read from what is written."""

    PLAIN = "plain"
    """As it is written; an escape character at its end may be dropped."""
    FLAG = "flag"
    """Without quotes and backslashes, the bytes of what is beyond ASCII as `byte_runes`."""
    JSON = "json"
    """A string of a JSON array."""
    CHOMPED = "chomped"
    """The body of ``<<-``, without the tabs at the beginning of its lines."""


class Word(str):
    """A text of the file with its place: behaves as the text, parts of it are `part`.

    ``start`` and ``end`` are the half-open range that the whole word takes in ``line``, quotes included; ``skip`` is how
    many of its characters are before this part, None if this is all of it. Pickled it is the plain text.
    """

    __slots__ = ("end", "form", "line", "skip", "start")

    line: LineMap
    start: int
    end: int
    form: Form
    skip: int | None

    def __new__(
        cls, text: str, line: LineMap, start: int, end: int, form: Form = Form.PLAIN, skip: int | None = None
    ) -> Self:
        """Make a word of its text and its place."""
        self = str.__new__(cls, text)
        self.line = line
        self.start = start
        self.end = end
        self.form = form
        self.skip = skip
        return self

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Places stay with the tree that they are in."""
        return str, (str(self),)

    def part(self, start: int, end: int | None = None) -> Word:
        """Return ``self[start:end]`` (both from 0 to the length) with its place."""
        return Word(self[start:end], self.line, self.start, self.end, self.form, (self.skip or 0) + start)

    def stripped(self, chars: str) -> Word:
        """Return ``self.strip(chars)`` with its place."""
        text = self.strip(chars)
        if len(text) == len(self):
            return self
        start = len(self) - len(self.lstrip(chars))
        return self.part(start, start + len(text))

    @property
    def written(self) -> str:
        """The whole word as it stands in the joined line, with its quotes and escapes."""
        return self.line.text[self.start : self.end]

    @property
    def span(self) -> Span:
        """Where it stands, a whole word with its quotes; an empty part is all of its word."""
        if self.skip is None or not self:
            return self.line.span(self.start, self.end)
        return self.range_span(0, len(self))

    def range_span(self, start: int, end: int) -> Span:
        """Return where a part stands, quotes and escapes inside of it included; never empty, unless the word is."""
        start, end = start + (self.skip or 0), end + (self.skip or 0)
        if self.form is Form.PLAIN:
            length = self.end - self.start
            begin, stop = min(start, length - 1), min(max(end, start + 1), length)
        else:
            ranges = _RANGES[self.form](self.written)
            if ranges:
                start, last = min(start, len(ranges) - 1), min(max(end, start + 1), len(ranges)) - 1
                begin, stop = ranges[start][0], ranges[last][1]
            else:
                begin, stop = 0, self.end - self.start
        return self.line.span(self.start + max(begin, 0), self.start + stop)


def where(text: str) -> Span | None:
    """Return where a text of the file stands; None if it is not of a file."""
    return text.span if isinstance(text, Word) else None


def byte_runes(text: str) -> str:
    """Return the UTF-8 bytes of a text as characters of Latin-1, which is how BuildKit reads flags."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def of_byte_runes(runes: str) -> str:
    """Return the text whose `byte_runes` these are."""
    return runes.encode("latin-1").decode("utf-8", "surrogateescape")


@lru_cache(maxsize=4)
def _flag_ranges(raw: str) -> Sequence[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    quote = ""
    at = 0
    while at < len(raw):
        char = raw[at]
        if char == "\\" and at + 1 < len(raw):
            at += 1
            out += [(at, at + 1)] * len(byte_runes(raw[at]))
        elif char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        elif char != "\\":
            out += [(at, at + 1)] * len(byte_runes(char))
        at += 1
    return out


_JSON_CHAR = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u....|\\.|.", re.DOTALL)


@lru_cache(maxsize=4)
def _json_ranges(raw: str) -> Sequence[tuple[int, int]]:
    return [found.span() for found in _JSON_CHAR.finditer(raw, 1, len(raw) - 1)]


@lru_cache(maxsize=4)
def _chomped_ranges(raw: str) -> Sequence[tuple[int, int]]:
    tabs = {at for found in re.finditer(r"^\t+", raw, re.MULTILINE) for at in range(*found.span())}
    return [(at, at + 1) for at in range(len(raw)) if at not in tabs]


_RANGES: dict[Form, Callable[[str], Sequence[tuple[int, int]]]] = {
    Form.FLAG: _flag_ranges,
    Form.JSON: _json_ranges,
    Form.CHOMPED: _chomped_ranges,
}
"""Where the characters of a whole word stand in what is written."""
