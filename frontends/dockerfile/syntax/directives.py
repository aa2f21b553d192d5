# SPDX-License-Identifier: Apache-2.0
"""Parser directives: ``# syntax=``, ``# escape=`` and ``# check=`` at the very top of a file."""

from __future__ import annotations

from llbkit.frontends.dockerfile.syntax.ast import ESCAPES
from llbkit.frontends.kit.directives import (
    HASH,
    NAMES,
    Directive,
    directive_line,
    directive_value,
    first_line,
    has_shebang,
)
from llbkit.grammar import Diagnostic, DiagnosticError, Related, Source, Span
from llbkit.grammar.patterns.match import SPACE


def scan(source: Source) -> dict[str, Directive]:
    """Return the directives of a file; the scan ends at the first line that is none. A ``#!`` line may come first.

    Raises:
        DiagnosticError: One is given twice, or ``escape`` is neither of its two characters.
    """
    found: dict[str, Directive] = {}
    for number in range(first_line(source), source.line_count + 1):
        match = HASH.match(directive_line(source, number))
        if match is None or match[1].lower() not in NAMES:
            break
        name, value = match[1].lower(), directive_value(match)
        span = source.lines(number, number)
        if name in found:
            raise _error(
                "duplicate-directive",
                f"only one {name} parser directive can be used",
                span,
                related=Related("the first one is here", found[name].span),
                hint="remove one of them",
            )
        if name == "escape" and value not in ESCAPES:
            raise _error(
                "invalid-escape",
                f"invalid escape token '{value}' does not match ` or \\",
                span,
                hint="write # escape=` or leave the line out",
            )
        found[name] = Directive(name, value, number, span)
    return found


def first_of(source: Source, name: str) -> Directive | None:
    """Return the first directive of a name, whatever else is wrong with the file; None if the scan ends before one."""
    names: set[str] = set()
    for number in range(first_line(source), source.line_count + 1):
        match = HASH.match(directive_line(source, number))
        if match is None or match[1].lower() not in NAMES - names:
            return None
        names.add(match[1].lower())
        if name in names:
            return Directive(name, match[2], number, source.lines(number, number))
    return None


def escape_of(source: Source, found: dict[str, Directive]) -> str:
    """Return the escape character: the directive counts only if no ``#!`` line comes before it, as in BuildKit."""
    return found["escape"].value if "escape" in found and not has_shebang(source) else "\\"


def is_directive(line: str) -> bool:
    """Return whether a line at the top of a file would be a directive."""
    match = HASH.match(line.lstrip(SPACE))
    return match is not None and match[1].lower() in NAMES


def _error(
    code: str, message: str, span: Span, *, hint: str, related: Related | None = None
) -> DiagnosticError:
    """Return an error about a directive.

    BuildKit names the line before the faulty one (none for the first), and so do the spans; the faulty line is the
    first related place.
    """
    before = span.start_line - 1
    places = (Related("this line", span), *((related,) if related else ()))
    spans = (span.source.lines(before, before),) if before else ()
    return DiagnosticError(Diagnostic(code=code, message=message, spans=spans, related=places, help=hint))
