# SPDX-License-Identifier: Apache-2.0
"""Diagnostics: what went wrong, where in the text, and what to do next."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from llbkit.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llbkit.grammar.edits import Fix
    from llbkit.grammar.source import Span

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Related:
    """A second place that belongs to a diagnostic, such as "defined here"."""

    message: str
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One message about a text.

    ``code`` is stable and is what tests assert; ``message`` is one line; ``spans`` are the faulty ranges, the
    most important first (empty where there is no text to point at); ``help`` says the next step. ``rule_url``,
    ``detail``, ``focus`` (the exact range, where the spans are whole instructions) and ``fixes`` are set by lint rules.
    """

    code: str
    message: str
    spans: tuple[Span, ...] = ()
    severity: Severity = "error"
    related: tuple[Related, ...] = ()
    help: str = ""
    detail: str = ""
    rule_url: str = ""
    focus: Span | None = None
    fixes: tuple[Fix, ...] = ()

    @property
    def span(self) -> Span | None:
        """The primary span, if there is one."""
        return self.spans[0] if self.spans else None

    def render(self, *, context: int = 2) -> str:
        """Return the diagnostic as plain text: header, source lines with a caret, related places, help.

        A message that quotes a huge word is cut; what is not UTF-8 is shown as U+FFFD.
        """
        lines = [f"{self.severity}: {_cut(self.message)}" + (f" [{self.code}]" if self.code else "")]
        if self.span is not None:
            lines += _snippet(self.span, context)
        for related in self.related:
            lines.append(f"note: {_cut(related.message)}")
            lines += _snippet(related.span, 0)
        if self.help:
            lines += [f"  help: {_cut(line)}" for line in self.help.splitlines()]
        return "\n".join(lines)


MOST_SHOWN = 8


def render_all(diagnostics: Sequence[Diagnostic], *, most: int = MOST_SHOWN) -> str:
    """Return diagnostics as plain text for one screen: one with its surroundings, several without; the rest is counted."""
    if len(diagnostics) == 1:
        return diagnostics[0].render()
    shown = [one.render(context=0) for one in diagnostics[:most]]
    if rest := diagnostics[most:]:
        lines = ", ".join(str(one.span.start_line) for one in rest if one.span is not None)
        where = f" (lines {lines})" if lines else ""
        shown.append(f"... and {len(rest)} more{where}")
    return "\n\n".join(shown)


class DiagnosticError(Exception):
    """Raised when a text cannot be used; carries every diagnostic found, the first one first."""

    def __init__(self, diagnostics: Diagnostic | Sequence[Diagnostic]) -> None:
        self.diagnostics: tuple[Diagnostic, ...] = (
            (diagnostics,) if isinstance(diagnostics, Diagnostic) else tuple(diagnostics)
        )
        super().__init__("; ".join(d.message for d in self.diagnostics))


def _snippet(span: Span, context: int) -> Iterable[str]:
    source = span.source
    first, last, column = span.start_line, span.end_line, span.start_column
    shown_last = min(last, first + 7)
    width = len(str(shown_last + context))
    yield f"{' ' * width}--> {source.name}:{first}:{column + 1}"
    for number in range(max(1, first - context), min(source.line_count, shown_last + context) + 1):
        text = _printable(source.line(number))
        inside = first <= number <= last
        yield f"{number:>{width}} {'>' if inside else '|'} {text}".rstrip()
        if inside and first == last:
            lead = "".join("\t" if c == "\t" else " " for c in text[:column])
            marks = max(1, min(span.end - span.start, len(text) - column))
            yield f"{' ' * width} | {lead}{'^' * marks}"
    if shown_last < last:
        yield f"{' ' * width} ... {last - shown_last} more lines"


_UNDECODED = re.compile("[\ud800-\udfff]")


def _cut(message: str, limit: int = 1000) -> str:
    shown = message if len(message) <= limit else f"{message[:limit]}…"
    return shown if shown.isascii() else _UNDECODED.sub("\N{REPLACEMENT CHARACTER}", shown)


def _printable(text: str, limit: int = 160) -> str:
    shown = "".join(c if c == "\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:limit])
    return shown + ("…" if len(text) > limit else "")


def nearest(word: str, known: Iterable[str], *, limit: int = 2) -> str | None:
    """Return the known word with the smallest edit distance to ``word``, if that is at most ``limit``.

    Cost: O(len(word) * limit) for each candidate.
    """
    best: str | None = None
    best_distance = limit + 1
    for candidate in known:
        if abs(len(candidate) - len(word)) >= best_distance:
            continue
        distance = edit_distance(word, candidate, limit=best_distance - 1)
        if distance < best_distance:
            best, best_distance = candidate, distance
    return best


def edit_distance(left: str, right: str, *, limit: int | None = None) -> int:
    """Return the Levenshtein distance of two words; some number above ``limit`` if it is above it.

    Cost: O(len(left) * len(right)), with a limit O(len(left) * limit) or less.
    """
    if limit is None:
        limit = max(len(left), len(right))
    if abs(len(left) - len(right)) > limit:
        return limit + 1
    left, right = _without_common_ends(left, right)
    over = limit + 1
    row = [number if number <= limit else over for number in range(len(right) + 1)]
    for i, a in enumerate(left, 1):
        first, last = max(1, i - limit), min(len(right), i + limit)
        previous = row[first - 1]
        row[first - 1] = i if first == 1 else over
        for j in range(first, last + 1):
            above = row[j] if j < i + limit else over
            cost = min(above + 1, row[j - 1] + 1, previous + (a != right[j - 1]))
            previous, row[j] = row[j], cost
        if min(row[first - 1 : last + 1]) > limit:
            return over
    return row[-1]


def _without_common_ends(left: str, right: str) -> tuple[str, str]:
    """Return two words without what both begin and end with."""
    start = _common(left, right)
    left, right = left[start:], right[start:]
    end = _common(left[::-1], right[::-1])
    return left[: len(left) - end], right[: len(right) - end]


def _common(left: str, right: str) -> int:
    """Return how many characters two words begin with together."""
    shorter = min(len(left), len(right))
    return next((at for at in range(shorter) if left[at] != right[at]), shorter)
