# SPDX-License-Identifier: Apache-2.0
"""Unknown rule names in check options. BuildKit ignores them silently, so a typo has no effect."""

from __future__ import annotations

from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.check import Config
from llbkit.frontends.dockerfile.check.rules import RULES
from llbkit.frontends.dockerfile.syntax.ast import ParsedFile
from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.grammar import Diagnostic, Span, nearest


def unknown_rules(file: ParsedFile) -> Iterator[Diagnostic]:
    """Yield a note about each name in the file's ``check`` directive that is not a rule's, with the nearest one that is."""
    directive = file.directives.get("check")
    if directive is None:
        return
    try:
        config = Config.parse(directive.first_word)
    except ProgramError:
        return  # already reported as an error
    known = [rule.name for rule in RULES]
    for name in sorted((config.skip | config.experimental) - {*known, ""}):
        close = nearest(name, known, limit=4)
        yield Diagnostic(
            code="check-option",
            message=f"unknown check {name}" + (f" (did you mean {close}?)" if close else ""),
            spans=(_place(directive.span, name),),
            severity="note",
            help="check names are case-sensitive",
        )


def _place(span: Span, name: str) -> Span:
    at = span.text.find(name)
    return Span(span.source, span.start + at, span.start + at + len(name)) if at >= 0 else span
