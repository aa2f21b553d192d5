# SPDX-License-Identifier: Apache-2.0
"""Physical lines to joined lines: continuations, comments between and inside them, heredoc bodies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import field

from llbkit.frontends.dockerfile.program.words import Mode, WordError, expand
from llbkit.frontends.dockerfile.syntax.ast import Heredoc, ParseWarning
from llbkit.frontends.dockerfile.syntax.words import LineMap, Word
from llbkit.grammar import Diagnostic, DiagnosticError, Related, Source, Span
from llbkit.grammar.patterns.match import SPACE
from llbkit.records import dataclass

_HEREDOC = re.compile(r"([0-9]*)<<(-?)([^<]+)")
_RAW = Mode(raw_quotes=True, raw_escapes=True, skip_unset_env=True)
_NAME = Mode(skip_unset_env=True)
_QUOTED_NAME = Mode(raw_quotes=True, skip_unset_env=True)
_MAX_FD = 2**64 - 1
MOST_BYTES = 65535
"""The longest physical line, its line feed not counted: what BuildKit's reader holds."""
LINE_TOO_LONG = "line-too-long"
EMPTY_CONTINUATION_URL = "https://docs.docker.com/go/dockerfile/rule/no-empty-continuation/"


@dataclass(slots=True)
class Joined:
    """One joined line: its text, where its characters stand, the physical lines, and the comments before it."""

    text: str
    line_map: LineMap
    first: int
    last: int
    comments: tuple[Word, ...]
    heredocs: tuple[Heredoc, ...] = field(default=())


class Lines:
    """Reads a source line by line. ``warnings`` fill up while it is read.

    A line of more than `MOST_BYTES` ends the reading, unless lines may have ``any_length``: as it ends the scanner that
    BuildKit reads with. What was begun before it is read to its end. If that was an instruction, the line's first bytes
    are one more line: the scanner gives away what it holds when it is asked again.
    """

    def __init__(self, source: Source, escape: str, first: int, *, any_length: bool = False) -> None:
        self._source = source
        self._any_length = any_length
        self._too_long = 0
        self._empty = True
        self._number = self._before_first(first)
        self._count = source.line_count
        if source.line(self._count) == "" and source.text.endswith("\n"):
            self._count -= 1
        elif not source.text:
            self._count = 0
        quoted = re.escape(escape)
        self._continued = re.compile(rf"([^{quoted}]){quoted}[ \t]*$|^{quoted}[ \t]*$")
        self.warnings: list[ParseWarning] = []
        self._comments: list[Word] = []

    @property
    def number(self) -> int:
        """How many lines were read."""
        return self._number

    def _before_first(self, first: int) -> int:
        """Return how many lines before the first one can be read."""
        return next((number - 1 for number in range(1, first) if self._is_too_long(number)), first - 1)

    def _is_too_long(self, number: int) -> bool:
        if self._any_length:
            return False
        length = self._source.line_length(number)
        if length <= MOST_BYTES // 4:  # a character has at most four bytes
            return False
        return (
            length > MOST_BYTES or len(_bytes_of(self._source.raw_line(number), MOST_BYTES + 1)) > MOST_BYTES
        )

    def _next(self) -> str | None:
        if self._number >= self._count:
            return None
        self._number += 1
        text = self._source.line(self._number)
        if self._is_too_long(self._number):
            if not self._too_long:
                self._too_long = self._number
                self._number -= 1
                return None
            self._count = self._number
            text = _bytes_of(text, MOST_BYTES + 1).decode("utf-8", "surrogateescape")
        return text.removeprefix("\ufeff") if self._number == 1 else text

    def joined(self) -> Iterator[Joined]:
        """Yield the joined lines. Heredoc bodies are taken by `take_heredocs` before the next one is asked for.

        Raises:
            DiagnosticError: after the last one, if a line is too long.
        """
        while (raw := self._next()) is not None:
            text = raw.lstrip(SPACE)
            if text.startswith("#"):
                comment = raw[1:].strip(SPACE)
                if comment:
                    self._comments.append(self._comment(raw, comment))
                else:
                    self._comments.clear()
                continue
            first = self._number
            text, more = self._cut(text)
            if not more and not text:
                continue
            pieces = _Pieces()
            pieces.add(text, self._offset(first, raw, raw.lstrip(SPACE)))
            if more:
                self._join(pieces, first)
            self._empty = False
            line_map = pieces.line_map(self._source)
            yield Joined(line_map.text, line_map, first, self._number, tuple(self._comments))
            self._comments.clear()
        if self._too_long:
            raise self._refusal()

    def _comment(self, raw: str, text: str) -> Word:
        start = len(raw) - len(raw[1:].lstrip(SPACE))
        line = LineMap(self._source, raw, (0,), (self._offset(self._number, raw, raw),))
        return Word(text, line, start, start + len(text))

    def _refusal(self) -> DiagnosticError:
        """Return the error of a line that is too long; it is located at the lines before it, as in BuildKit."""
        spans = (self._source.lines(self._number, self._number),) if self._number else ()
        long = self._source.lines(self._too_long, self._too_long)
        message = f"dockerfile line greater than max allowed size of {MOST_BYTES}"
        return DiagnosticError(
            Diagnostic(
                code=LINE_TOO_LONG,
                message="file with no instructions" if self._empty else message,
                spans=spans,
                help=f"split the line with continuations before {MOST_BYTES} bytes",
                related=(Related(f"line {self._too_long} is longer than {MOST_BYTES} bytes", long),),
            )
        )

    def _join(self, pieces: _Pieces, first: int) -> None:
        more = True
        empty: list[int] = []
        while more and (raw := self._next()) is not None:
            if raw.lstrip(SPACE).startswith("#"):
                continue
            if not raw.strip(SPACE):
                empty.append(self._number)
                continue
            text, more = self._cut(raw)
            pieces.add(text, self._offset(self._number, raw, raw))
        if empty:
            self._warn_empty(pieces.text(), empty)

    def _warn_empty(self, text: str, empty: Sequence[int]) -> None:
        self.warnings.append(
            ParseWarning(
                short=f"Empty continuation line found in: {text}",
                detail=("Empty continuation lines will become errors in a future release",),
                url=EMPTY_CONTINUATION_URL,
                lines=(self._number, self._number),
                span=self._source.lines(self._number, self._number),
                blank=tuple(map(self._whole_line, empty)),
            )
        )

    def _whole_line(self, number: int) -> Span:
        start = self._source.lines(number, number).start
        return self._source.span(start, start + len(self._source.raw_line(number)))

    def _cut(self, text: str) -> tuple[str, bool]:
        """Cut a continuation character off; return whether there was one."""
        if self._continued.search(text):
            return self._continued.sub(r"\1", text), True
        return text, False

    def _offset(self, number: int, raw: str, kept: str) -> int:
        """Return the source offset of ``kept``, which ends line ``number``."""
        whole = self._source.line(number)
        return self._source.lines(number, number).start + len(whole) - len(kept)

    def take_heredocs(self, line: Joined) -> tuple[Heredoc, ...]:
        """Read the bodies of the heredocs that a joined line names, and extend the line by them.

        Raises:
            DiagnosticError: a body does not end.
        """
        found = []
        at = 0
        for word, (fd, chomp, name, expands) in _marked(line.text):
            at = max(line.text.find(word, at), 0)
            mark = Word(word, line.line_map, at, at + len(word))
            at += len(word)
            begin = self._number + 1
            body: list[str] = []
            while True:
                raw = self._next()
                if raw is None:
                    self._unterminated(line, name)
                    break
                if (raw.lstrip("\t") if chomp else raw) == name:
                    break
                body.append(self._source.raw_line(self._number))
            span = self._source.lines(begin, max(begin, self._number - 1))
            found.append(
                Heredoc(
                    name=name,
                    content=self._body("".join(body), span),
                    span=span,
                    mark=mark,
                    closing=self._source.lines(self._number, self._number),
                    expand=expands,
                    chomp=chomp,
                    fd=fd,
                )
            )
        line.last = self._number
        line.heredocs = tuple(found)
        return line.heredocs

    def _body(self, text: str, span: Span) -> Word:
        return Word(text, LineMap(self._source, text, (0,), (span.start,)), 0, len(text))

    def _unterminated(self, line: Joined, name: str) -> None:
        spans = tuple(self._source.lines(number, number) for number in range(line.first, self._number + 1))
        raise DiagnosticError(
            Diagnostic(
                code="unterminated-heredoc",
                message="unterminated heredoc",
                spans=spans,
                help=f"end it with a line that contains only {name}",
            )
        )


def _bytes_of(text: str, most: int) -> bytes:
    """Return the first bytes of a text, its line feed not among them."""
    return text[:most].removesuffix("\n").encode("utf-8", "surrogateescape")[:most]


class _Pieces:
    def __init__(self) -> None:
        self._texts: list[str] = []
        self._starts: list[int] = []
        self._offsets: list[int] = []
        self._length = 0

    def add(self, text: str, offset: int) -> None:
        self._texts.append(text)
        self._starts.append(self._length)
        self._offsets.append(offset)
        self._length += len(text)

    def text(self) -> str:
        return "".join(self._texts)

    def line_map(self, source: Source) -> LineMap:
        return LineMap(source, self.text(), tuple(self._starts), tuple(self._offsets))


def heredocs_of(line: str) -> list[tuple[int, bool, str, bool]]:
    """Return (descriptor, chomp, name, expand) of each heredoc that a joined line names."""
    return [found for _, found in _marked(line)]


def _marked(line: str) -> list[tuple[str, tuple[int, bool, str, bool]]]:
    if "<<" not in line:
        return []
    try:
        words = expand(line, {}, _RAW).words
    except WordError:
        return []
    return [(word, found) for word in words if (found := heredoc_of(word)) is not None]


def heredoc_of(word: str) -> tuple[int, bool, str, bool] | None:
    """Read a word as a heredoc mark: (descriptor, chomp, name, expand), or None if it is none."""
    match = _HEREDOC.fullmatch(word)
    if match is None:
        return None
    try:
        plain = expand(match[3], {}, _NAME).words
        raw = expand(match[3], {}, _QUOTED_NAME).words
    except WordError:
        return None
    if len(plain) != 1 or len(raw) != 1:
        return None
    descriptor = min(int(match[1].lstrip("0")[:20] or 0), _MAX_FD)
    return descriptor, match[2] == "-", plain[0], plain[0] == raw[0]
