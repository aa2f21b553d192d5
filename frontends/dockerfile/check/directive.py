# SPDX-License-Identifier: Apache-2.0
"""The ``check`` directive of a file, and unknown rule names in it: BuildKit ignores them, so a typo has no effect."""

from __future__ import annotations

from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.profiles import BUILDKIT
from llbkit.frontends.dockerfile.syntax.ast import ParsedFile
from llbkit.frontends.dockerfile.syntax.directives import first_of
from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.frontends.kit.lint.config import Config
from llbkit.grammar import Diagnostic, Source, Span, nearest


def check_config(source: Source, given: Config | None) -> Config:
    """Return the check options: those of the build, else those of the file's directive.

    They are read before anything else of the file, whose other errors come after theirs.

    Raises:
        ProgramError: the directive is malformed.
    """
    if given is not None:
        return given
    directive = first_of(source, "check")
    try:
        return Config.parse(directive.first_word if directive is not None else "")
    except ProgramError as error:
        error.point(directive.span if directive is not None else None)
        raise error.prefixed("failed to parse check options: ") from None


def unknown_rules(file: ParsedFile) -> Iterator[Diagnostic]:
    """Yield a note about each name in the file's ``check`` directive that is not a rule's, with the nearest one that is."""
    directive = file.directives.get("check")
    if directive is None:
        return
    try:
        config = Config.parse(directive.first_word)
    except ProgramError:
        return  # already reported as an error
    known = [rule.name for rule in BUILDKIT]
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
