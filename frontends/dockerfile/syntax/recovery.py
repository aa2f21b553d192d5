# SPDX-License-Identifier: Apache-2.0
"""Error recovery: blank out faulty instructions and parse the rest again.

The parser stops where it cannot cut a line: a malformed JSON array, a pair without ``=``, an open heredoc, a line too long. The error is
the parser's own, as BuildKit has it; what this module finds is reported after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from llbkit.frontends.dockerfile.program.programs import read_program
from llbkit.frontends.dockerfile.syntax.ast import ParsedFile
from llbkit.frontends.dockerfile.syntax.lines import LINE_TOO_LONG
from llbkit.frontends.dockerfile.syntax.parse import parse
from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.frontends.kit.lint.facts import NOBODY
from llbkit.grammar import Diagnostic, DiagnosticError, Source, Span

_MOST = 20
_PREFIX = re.compile(r"^dockerfile parse error on line \d+: ")


def parse_on(source: Source) -> ParsedFile:
    """Parse a Dockerfile.

    Raises:
        DiagnosticError: it cannot be parsed; the first error is the parser's, all others that were found come after it.
    """
    try:
        return parse(source)
    except DiagnosticError as error:
        error.diagnostics = (*error.diagnostics, *_remaining_errors(source, error.diagnostics))
        raise


def _remaining_errors(source: Source, found: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Return the errors that remain once the faulty lines are blanked out; limited in number."""
    out: list[Diagnostic] = []
    text, last = source.text, list(found)
    while last and len(out) < _MOST:
        # A line that is too long can be read, if it may be.
        wrong = [diagnostic for diagnostic in last if diagnostic.code != LINE_TOO_LONG]
        blanked = _without(text, [span for diagnostic in wrong for span in diagnostic.spans])
        if wrong and blanked == text:
            break
        text = blanked
        rest = Source(source.name, text, source.language)
        try:
            read_program(parse(rest, any_length=True), NOBODY)
            break
        except ProgramError as error:
            out += error.diagnostics
            break
        except DiagnosticError as error:
            last = [one for one in error.diagnostics if one.code != "no-instructions"]
            out += last
    return sorted((_in(source, one) for one in out), key=lambda one: one.span.start if one.span else 0)


def _without(text: str, spans: Iterable[Span]) -> str:
    """Return a text of the same length and lines in which spans of whole lines are comments."""
    pieces, at = [], 0
    for span in sorted(spans, key=lambda span: span.start):
        if span.start < at:
            continue
        lines = text[span.start : span.end].split("\n")
        blank = "\n".join("#" + " " * (len(line) - 1) if line else "" for line in lines)
        pieces += [text[at : span.start], blank]
        at = span.end
    return "".join([*pieces, text[at:]])


def _in(source: Source, diagnostic: Diagnostic) -> Diagnostic:
    """Return a diagnostic with its places in the text as it was written: the offsets are the same."""
    spans = tuple(source.span(span.start, span.end) for span in diagnostic.spans)
    related = tuple(
        replace(one, span=source.span(one.span.start, one.span.end)) for one in diagnostic.related
    )
    return replace(diagnostic, message=_PREFIX.sub("", diagnostic.message), spans=spans, related=related)
