# SPDX-License-Identifier: Apache-2.0
"""Parser directives: ``# syntax=``, ``# escape=`` and ``# check=`` at the very top of a file."""

from __future__ import annotations

import json
import re

from frontends.dockerfile.ast import ESCAPES, Directive
from grammar import Diagnostic, DiagnosticError, Source

NAMES = frozenset({"syntax", "escape", "check"})
_HASH = re.compile(r"^#[ \t\n\v\f\r]*([a-zA-Z][a-zA-Z0-9]*)[ \t\n\v\f\r]*=[ \t\n\v\f\r]*(.+?)[ \t\n\v\f\r]*$")
_SLASH = re.compile(
    r"^//[ \t\n\v\f\r]*([a-zA-Z][a-zA-Z0-9]*)[ \t\n\v\f\r]*=[ \t\n\v\f\r]*(.+?)[ \t\n\v\f\r]*$"
)
_SPACE = " \t\v\f\r\n"


def scan(source: Source) -> dict[str, Directive]:
    """Return the directives of a file; the scan ends at the first line that is none.

    Raises:
        DiagnosticError: one is given twice, or ``escape`` is neither of its two characters.
    """
    found: dict[str, Directive] = {}
    for number in range(1, source.line_count + 1):
        match = _HASH.match(_line(source, number))
        if match is None or match[1].lower() not in NAMES:
            break
        name, value = match[1].lower(), match[2]
        span = source.lines(number, number)
        if name in found:
            message = f"only one {name} parser directive can be used"
            raise DiagnosticError(Diagnostic(code="duplicate-directive", message=message, spans=(span,)))
        if name == "escape" and value not in ESCAPES:
            message = f"invalid escape token '{value}' does not match ` or \\"
            raise DiagnosticError(Diagnostic(code="invalid-escape", message=message, spans=(span,)))
        found[name] = Directive(name, value, number, span)
    return found


def detect_syntax(source: Source) -> Directive | None:
    """Return the ``syntax`` directive, which may also be a ``//`` comment or a key of a JSON file."""
    first = 2 if source.text.removeprefix("\ufeff").startswith("#!") else 1
    for pattern in (_HASH, _SLASH):
        for number in range(first, source.line_count + 1):
            match = pattern.match(_line(source, number))
            if match is None:
                break
            if match[1].lower() == "syntax":
                return Directive("syntax", match[2], number, source.lines(number, number))
    try:
        data = json.loads(source.text)
    except ValueError:
        return None
    if isinstance(data, dict) and isinstance(data.get("syntax"), str):
        return Directive("syntax", data["syntax"], 0, source.span(0, 0))
    return None


def _line(source: Source, number: int) -> str:
    text = source.line(number)
    return text.removeprefix("\ufeff") if number == 1 else text
