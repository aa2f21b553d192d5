# SPDX-License-Identifier: Apache-2.0
"""Locate the cause in the source of a failed step: a word that its error, or the end of its output, mentions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from llbkit.grammar import Span
from llbkit.progress.model import printable

_LINES = 10
"""Lines of output that are shown with a failure, and searched for its cause."""

_SEARCHED = 4096
"""Characters of a line that are searched: a name may be longer than any screen, and the search takes its square."""

_QUOTED = re.compile(r"""["'`‘“]([^"'`’”\s][^"'`’”]*)["'`’”]""")
_COMPLAINTS = re.compile(
    r"(?P<word>[^\s:'\"]+)['\"]?: (?:\w+ )?(?:not found|No such file or directory|Permission denied|Is a directory"
    r"|Not a directory|File exists|invalid \w+|Exec format error)",
    re.IGNORECASE,
)
"""How shells, coreutils and their like say what was wrong with a word of the command."""


def last_lines(output: bytes) -> list[str]:
    """Return the last lines of a process's output as text without control sequences."""
    return [printable(line) for line in output.rstrip(b"\n").split(b"\n")[-_LINES:]] if output.strip() else []


def find_cause(spans: Sequence[Span], texts: Iterable[str]) -> tuple[Span, ...]:
    """Return the place to show: a word of the step that a text complains about, else the step's first word.

    ``spans`` are the step's lines. A word counts only if the step has it once.
    """
    for text in texts:
        for word in _words_in(text):
            places = list(_places_of(word, spans))
            if len(places) == 1:
                return (places[0], *spans[1:])
    if not spans or len(spans[0].text) != len(spans[0].source.line(spans[0].start_line)):
        return tuple(spans)  # it is precise already
    head = spans[0]
    keyword = re.match(r"\s*(\w+)", head.text)
    if keyword is None:
        return tuple(spans)
    return (_part(head, keyword.start(1), keyword.end(1)), *spans[1:])


def _words_in(text: str) -> Iterator[str]:
    text = text[:_SEARCHED]
    for match in (*_COMPLAINTS.finditer(text), *_QUOTED.finditer(text)):
        word = match[match.lastgroup or 1]
        yield word
        if word.startswith("/"):
            yield word.lstrip("/")


def _places_of(word: str, spans: Sequence[Span]) -> Iterator[Span]:
    if len(word) < 2:
        return
    pattern = re.compile(rf"(?<![\w./-]){re.escape(word)}(?![\w/-]|\.\w)")
    for span in spans:
        for match in pattern.finditer(span.text):
            yield _part(span, match.start(), match.end())


def _part(span: Span, start: int, end: int) -> Span:
    return Span(span.source, span.start + start, span.start + end)
