# SPDX-License-Identifier: Apache-2.0
"""Turn Lark's syntax errors into diagnostics: a caret, what was expected, and the nearest known word.

A known mistake is a malformed example: the parser is run on each example once, and an error that stops in the same
parser state gets the example's message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field

from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken

from llbkit.grammar.diagnostic import Diagnostic, DiagnosticError, nearest
from llbkit.grammar.lift import ParseTree
from llbkit.grammar.loader import Grammar
from llbkit.grammar.source import Source, Span
from llbkit.records import dataclass

_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Syntax:
    """What is known about a language besides its grammar.

    ``mistakes`` maps a message to malformed examples of it; ``names`` maps terminals to what a user calls them;
    ``words`` are the known words that a misspelt one is compared with.
    """

    grammar: Grammar
    code: str = "syntax"
    mistakes: Mapping[str, Iterable[str]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    words: Iterable[str] = ()

    def parse(self, source: Source) -> ParseTree:
        """Parse a source.

        Raises:
            DiagnosticError: It is not in the language; the span is the first token that does not fit.
        """
        try:
            return self.grammar.parse(source.text)
        except UnexpectedInput as error:
            raise DiagnosticError(self.diagnostic(source, error)) from None

    def diagnostic(self, source: Source, error: UnexpectedInput) -> Diagnostic:
        """Return the diagnostic for a parse error of ``source``."""
        found, span = _found(source, error)
        expected = self._expected(error)
        suggestion = nearest(found, self.words) if found else None
        message = self._mistake(error) or (f"unexpected {found!r}" if found else "unexpected end of input")
        if suggestion and suggestion != found:
            message += f" (did you mean {suggestion}?)"
        hint = f"expected {_enumerate(expected)}" if expected else ""
        return Diagnostic(code=self.code, message=message, spans=(span,), help=hint)

    def _expected(self, error: UnexpectedInput) -> list[str]:
        kinds: Iterable[str] = ()
        if isinstance(error, UnexpectedToken):
            kinds = error.accepts or error.expected
        elif isinstance(error, UnexpectedCharacters):
            kinds = error.allowed or ()
        elif isinstance(error, UnexpectedEOF):
            kinds = error.expected
        return sorted({self._name(kind) for kind in kinds})

    def _name(self, kind: str) -> str:
        if kind == "$END":
            return "end of input"
        if kind in self.names:
            return self.names[kind]
        literal = self.grammar.literals.get(kind)
        return repr(literal) if literal is not None else kind.lower().replace("_", " ")

    def _mistake(self, error: UnexpectedInput) -> str | None:
        if not self.mistakes:
            return None
        found: str | None = error.match_examples(self.grammar.parse_raw, self.mistakes, use_accepts=True)
        return found


def _found(source: Source, error: UnexpectedInput) -> tuple[str, Span]:
    """Return the text that does not fit, empty at the end of the source, and its place."""
    length = len(source.text)
    if isinstance(error, UnexpectedToken) and error.token.type != "$END":
        start = error.token.start_pos or 0
        end = error.token.end_pos if error.token.end_pos is not None else start + len(error.token)
        return str(error.token), source.span(start, end)
    if isinstance(error, UnexpectedCharacters):
        start = end = error.pos_in_stream or 0
        while end < length and (source.text[end].isalnum() or source.text[end] in "_-"):
            end += 1
        end = max(end, min(start + 1, length))
        return source.text[start:end], source.span(start, end)
    return "", source.span(length, length)


def _enumerate(items: list[str]) -> str:
    shown = items[:_SHOWN]
    if len(items) > _SHOWN:
        return f"{', '.join(shown)} or {len(items) - _SHOWN} others"
    return f"{', '.join(shown[:-1])} or {shown[-1]}" if len(shown) > 1 else shown[0]
