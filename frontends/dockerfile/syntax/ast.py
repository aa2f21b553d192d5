# SPDX-License-Identifier: Apache-2.0
"""The generic tree of a Dockerfile: one node per instruction, before instructions get their own types.

The facts in it (joined line, flags, token chain, line numbers, comments, heredocs) are those of BuildKit's
parser, recorded in the ``ast`` reference vectors. On top of them every node knows where each part stands in
the source, so that later stages can point at a word and not only at a line.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llbkit.frontends.kit.golang.quote import go_quote

if TYPE_CHECKING:
    from llbkit.grammar import Source, Span

ESCAPES = frozenset("\\`")
"""The characters that the ``escape`` directive may choose."""


@dataclass(frozen=True, slots=True)
class LineMap:
    """Where the characters of a joined (continued) line stand in the source.

    ``starts`` are offsets in the joined line, ascending from 0; ``offsets`` the source offsets they come from.
    Between two starts the text is contiguous in the source.
    """

    starts: tuple[int, ...]
    offsets: tuple[int, ...]

    def offset(self, position: int) -> int:
        """Return the source offset of ``position`` in the joined line."""
        piece = max(0, bisect_right(self.starts, position) - 1)
        return self.offsets[piece] + position - self.starts[piece]

    def span(self, source: Source, start: int, end: int) -> Span:
        """Return the source span of the half-open range of the joined line."""
        begin = self.offset(start)
        return source.span(begin, self.offset(end - 1) + 1 if end > start else begin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heredoc:
    """One ``<<NAME`` document. ``content`` is as written: tabs of ``<<-`` are not stripped yet."""

    name: str
    content: str
    span: Span
    """The body, without the line that ends it."""
    expand: bool = True
    """False if any part of the name was quoted."""
    chomp: bool = False
    """True for ``<<-``."""
    fd: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One instruction."""

    value: str
    """The instruction word as written."""
    original: str
    """The joined line: continuations removed, heredoc bodies not included."""
    span: Span
    """All physical lines of the instruction, heredoc bodies included."""
    start_line: int
    end_line: int
    tokens: tuple[str | Node, ...] = ()
    """The argument chain; ENV and LABEL have three a pair: key, value, ``=`` (or empty for the old form)."""
    flags: tuple[str, ...] = ()
    """The ``--name=value`` words, unquoted; what is beyond ASCII as `byte_runes`."""
    json: bool = False
    """True for the exec (JSON) form."""
    prev_comment: tuple[str, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    line_map: LineMap = field(repr=False, compare=False)
    token_ranges: tuple[tuple[int, int], ...] = field(default=(), repr=False, compare=False)
    """For every token the half-open range it takes in ``original``."""
    flag_ranges: tuple[tuple[int, int], ...] = field(default=(), repr=False, compare=False)
    base: int = field(default=0, repr=False, compare=False)
    """Where ``original`` starts in the joined line: not 0 only for the child of ONBUILD."""

    @property
    def keyword(self) -> str:
        """The instruction word in lower case."""
        return self.value.lower()

    @property
    def attributes(self) -> dict[str, bool]:
        """BuildKit's attribute map: ``{"json": True}`` for the exec form."""
        return {"json": True} if self.json else {}

    @property
    def words(self) -> tuple[str, ...]:
        """The tokens that are words; ONBUILD's child is left out."""
        return tuple(token for token in self.tokens if isinstance(token, str))

    @property
    def child(self) -> Node | None:
        """The instruction inside ONBUILD."""
        for token in self.tokens:
            if isinstance(token, Node):
                return token
        return None

    def range_span(self, start: int, end: int) -> Span:
        """Return the source span of a half-open range of ``original``."""
        return self.line_map.span(self.span.source, self.base + start, self.base + end)

    @property
    def value_span(self) -> Span:
        """The instruction word."""
        start = self.original.find(self.value)
        return self.range_span(max(start, 0), max(start, 0) + len(self.value))

    def token_span(self, index: int) -> Span:
        """Return the span of ``tokens[index]``; the whole node if it has no place of its own."""
        return self._part_span(self.token_ranges, index)

    def flag_span(self, index: int) -> Span:
        """Return the span of ``flags[index]``; the whole node if it has no place of its own."""
        return self._part_span(self.flag_ranges, index)

    def flag_part_span(self, index: int, start: int, end: int) -> Span:
        """Return the span of a half-open range of ``flags[index]``, quotes and backslashes inside it included."""
        if not 0 <= index < len(self.flag_ranges):
            return self.span
        first, last = self.flag_ranges[index]
        if last - first == len(self.flags[index]):  # nothing was taken off
            length = last - first
            begin, stop = min(start, length - 1), min(max(end, start + 1), length)
            return self.range_span(first + begin, first + stop)
        offsets = flag_offsets(self.original[first:last])
        begin, stop = min(start, len(offsets) - 1), min(max(end, start + 1), len(offsets))
        return self.range_span(first + offsets[begin], first + offsets[stop - 1] + 1)

    def _part_span(self, ranges: tuple[tuple[int, int], ...], index: int) -> Span:
        return self.range_span(*ranges[index]) if 0 <= index < len(ranges) else self.span

    def dump(self) -> str:
        """Return the node as BuildKit's s-expression."""
        parts = [self.value.lower()]
        if self.flags:
            parts.append(f"[{' '.join(map(go_quote, self.flags))}]")
        parts += [go_quote(token) if isinstance(token, str) else token.dump() for token in self.tokens]
        return f"({' '.join(parts)})"


def byte_runes(text: str) -> str:
    """Return the UTF-8 bytes of a text as characters of Latin-1, which is how BuildKit reads flags."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def of_byte_runes(runes: str) -> str:
    """Return the text whose `byte_runes` these are."""
    return runes.encode("latin-1").decode("utf-8", "surrogateescape")


def flag_offsets(raw: str) -> list[int]:
    """Return where the characters of a flag stand in its text as written, with its quotes and backslashes."""
    out: list[int] = []
    quote = ""
    at = 0
    while at < len(raw):
        char = raw[at]
        if char == "\\" and at + 1 < len(raw):
            at += 1
            out += [at] * len(byte_runes(raw[at]))
        elif char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        elif char != "\\":
            out += [at] * len(byte_runes(char))
        at += 1
    return out or [0]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseWarning:
    """A warning of the parser itself, in BuildKit's words."""

    short: str
    detail: tuple[str, ...]
    url: str
    lines: tuple[int, int]
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFile:
    """A whole Dockerfile."""

    source: Source
    nodes: tuple[Node, ...]
    escape: str = "\\"
    directives: dict[str, Directive] = field(default_factory=dict)
    warnings: tuple[ParseWarning, ...] = ()

    @property
    def start_line(self) -> int:
        """The first line of the first instruction."""
        return self.nodes[0].start_line

    @property
    def end_line(self) -> int:
        """The last line of the last instruction."""
        return self.nodes[-1].end_line

    def dump(self) -> str:
        """Return the file as BuildKit's s-expressions, one instruction a line."""
        return "\n".join(node.dump() for node in self.nodes)
