# SPDX-License-Identifier: Apache-2.0
"""The errors of the Dockerfile language: BuildKit's text as the message, and our next step as the help."""

from __future__ import annotations

from collections.abc import Sequence

from frontends.dockerfile.ast import Node
from grammar import Diagnostic, DiagnosticError, Span


def spans_of(node: Node) -> tuple[Span, ...]:
    """Return one span for each line of an instruction."""
    source = node.span.source
    return tuple(
        source.lines(number, number) for number in range(node.span.start_line, node.span.end_line + 1)
    )


def at(
    node: Node, message: str, *, code: str = "dockerfile", hint: str = "", suggestion: str | None = None
) -> DiagnosticError:
    """Return an error that points at an instruction; a suggestion is shown as "did you mean"."""
    if suggestion:
        message += f" (did you mean {suggestion}?)"
    return DiagnosticError(Diagnostic(code=code, message=message, spans=spans_of(node), help=hint))


def parse_error(
    node: Node, message: str, *, hint: str = "", suggestion: str | None = None
) -> DiagnosticError:
    """Return an error about the form of an instruction."""
    prefix = f"dockerfile parse error on line {node.span.start_line}: "
    if suggestion and not hint:
        hint = f"write {suggestion}"
    return at(node, prefix + message, code="dockerfile-parse", hint=hint, suggestion=suggestion)


def plain(
    message: str, *, code: str = "dockerfile", hint: str = "", spans: Sequence[Span] = ()
) -> DiagnosticError:
    """Return an error about the file, or the options, as a whole."""
    return DiagnosticError(Diagnostic(code=code, message=message, spans=tuple(spans), help=hint))


def no_stage(node: Node) -> DiagnosticError:
    """An instruction other than ARG stands before the first FROM."""
    return at(node, "no build stage in current context", code="no-stage", hint="begin with FROM image")
