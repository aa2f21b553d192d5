# SPDX-License-Identifier: Apache-2.0
"""Source texts and spans: the positions that every later stage refers to."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import field

from llbkit.records import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A text with a name. Offsets in it are code points, lines count from 1, columns from 0.

    Two sources are equal only if they are the same object: the same text read twice stays two sources.
    """

    name: str
    text: str
    language: str = ""
    _starts: list[int] = field(default_factory=list, repr=False)

    @classmethod
    def from_bytes(cls, name: str, data: bytes, language: str = "") -> Source:
        """Make a source of raw file content; bytes that are not UTF-8 survive as surrogate escapes."""
        return cls(name, data.decode("utf-8", "surrogateescape"), language)

    @property
    def data(self) -> bytes:
        """The text as the bytes it was read from."""
        return self.text.encode("utf-8", "surrogateescape")

    def _line_starts(self) -> list[int]:
        if not self._starts:
            starts, position = [0], self.text.find("\n")
            while position >= 0:
                starts.append(position + 1)
                position = self.text.find("\n", position + 1)
            self._starts.extend(starts)
        return self._starts

    @property
    def line_count(self) -> int:
        """How many lines the text has; an empty text has one."""
        return len(self._line_starts())

    def line_column(self, offset: int) -> tuple[int, int]:
        """Return the 1-based line and 0-based column of ``offset``."""
        starts = self._line_starts()
        line = bisect_right(starts, offset)
        return line, offset - starts[line - 1]

    def line(self, number: int) -> str:
        """Return line ``number`` (from 1) without its line end; a line outside the text is empty."""
        starts = self._line_starts()
        if not 1 <= number <= len(starts):
            return ""
        end = starts[number] if number < len(starts) else len(self.text)
        return self.text[starts[number - 1] : end].rstrip("\r\n")

    def line_length(self, number: int) -> int:
        """Return how many code points line ``number`` (from 1) has, without its line feed."""
        starts = self._line_starts()
        last = len(self.text)
        return (starts[number] - 1 if number < len(starts) else last) - starts[number - 1]

    def raw_line(self, number: int) -> str:
        """Return line ``number`` (from 1) with its line end."""
        starts = self._line_starts()
        end = starts[number] if number < len(starts) else len(self.text)
        return self.text[starts[number - 1] : end]

    def span(self, start: int, end: int) -> Span:
        """Return the span of the half-open offset range."""
        return Span(self, start, end)

    def lines(self, first: int, last: int) -> Span:
        """Return the span that covers lines ``first`` to ``last``, both counted from 1 and included."""
        starts = self._line_starts()
        begin = starts[min(max(first, 1), len(starts)) - 1]
        last = min(max(last, first, 1), len(starts))
        end = starts[last] if last < len(starts) else len(self.text)
        while end > starts[last - 1] and self.text[end - 1] in "\r\n":
            end -= 1
        return Span(self, begin, end)


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of offsets in one source."""

    source: Source
    start: int
    end: int

    @property
    def start_line(self) -> int:
        """The 1-based line the span begins on."""
        return self.source.line_column(self.start)[0]

    @property
    def end_line(self) -> int:
        """The 1-based line the span ends on; an empty line that it reaches counts."""
        return self.source.line_column(self.end)[0]

    @property
    def start_column(self) -> int:
        """The 0-based column the span begins at."""
        return self.source.line_column(self.start)[1]

    @property
    def text(self) -> str:
        """The covered text."""
        return self.source.text[self.start : self.end]

    def to(self, other: Span) -> Span:
        """Return the smallest span that covers both."""
        return Span(self.source, min(self.start, other.start), max(self.end, other.end))

    def __str__(self) -> str:
        return f"{self.source.name}:{self.start_line}"
