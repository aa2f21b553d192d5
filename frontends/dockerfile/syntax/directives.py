# SPDX-License-Identifier: Apache-2.0
"""Parser directives: ``# syntax=``, ``# escape=`` and ``# check=`` at the very top of a file."""

from __future__ import annotations

import json
import re

from llbkit.frontends.dockerfile.syntax.ast import ESCAPES, Directive
from llbkit.grammar import Diagnostic, DiagnosticError, Related, Source, Span
from llbkit.grammar.patterns.match import SPACE

NAMES = frozenset({"syntax", "escape", "check"})
_GAP = r"[\t\n\f\r ]*"
# Any space of Unicode may stand before the name, only that of ASCII around the value.
_FORM = rf"[{SPACE}]*([a-zA-Z][a-zA-Z0-9]*){_GAP}={_GAP}(.+)$"
_SPACE = "\t\n\f\r "
_HASH = re.compile(f"#{_FORM}")
_SLASHES = re.compile(f"//{_FORM}")


def scan(source: Source) -> dict[str, Directive]:
    """Return the directives of a file; the scan ends at the first line that is none. A ``#!`` line may come first.

    Raises:
        DiagnosticError: One is given twice, or ``escape`` is neither of its two characters.
    """
    found: dict[str, Directive] = {}
    for number in range(_first_line(source), source.line_count + 1):
        match = _HASH.match(_line(source, number))
        if match is None or match[1].lower() not in NAMES:
            break
        name, value = match[1].lower(), _value(match)
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
    for number in range(_first_line(source), source.line_count + 1):
        match = _HASH.match(_line(source, number))
        if match is None or match[1].lower() not in NAMES - names:
            return None
        names.add(match[1].lower())
        if name in names:
            return Directive(name, match[2], number, source.lines(number, number))
    return None


def escape_of(source: Source, found: dict[str, Directive]) -> str:
    """Return the escape character: the directive counts only if no ``#!`` line comes before it, as in BuildKit."""
    return found["escape"].value if "escape" in found and not has_shebang(source) else "\\"


def detect_syntax(source: Source) -> Directive | None:
    """Return the ``syntax`` directive, which may also be a ``//`` comment or a key of a JSON file."""
    for pattern in (_HASH, _SLASHES):
        for number in range(_first_line(source), source.line_count + 1):
            match = pattern.match(_line(source, number))
            if match is None or match[1].lower() not in NAMES:
                break
            if match[1].lower() == "syntax":
                return Directive("syntax", _value(match), number, source.lines(number, number))
    try:
        data = json.loads(source.text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return None
    if isinstance(data, dict) and isinstance(data.get("syntax"), str):
        return Directive("syntax", data["syntax"], 0, source.span(0, 0))
    return None


def _value(match: re.Match[str]) -> str:
    """Return the value without the space after it; of a value of spaces one stays."""
    return match[2].rstrip(_SPACE) or match[2]


def is_directive(line: str) -> bool:
    """Return whether a line at the top of a file would be a directive."""
    match = _HASH.match(line.lstrip(SPACE))
    return match is not None and match[1].lower() in NAMES


def has_shebang(source: Source) -> bool:
    """Return whether the file starts with a ``#!`` line."""
    return source.text.removeprefix("\ufeff").startswith("#!")


def _first_line(source: Source) -> int:
    return 2 if has_shebang(source) else 1


def _line(source: Source, number: int) -> str:
    text = source.line(number)
    return (text.removeprefix("\ufeff") if number == 1 else text).lstrip(SPACE)


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
