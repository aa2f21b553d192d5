# SPDX-License-Identifier: Apache-2.0
"""A program as its grammar reads it, every part with its span: enough for a small language, without classes of its own."""

from __future__ import annotations

from functools import cache
from typing import ClassVar

from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.frontends.kit.errors.places import Place
from llbkit.frontends.kit.language import Language
from llbkit.frontends.kit.lint.facts import Fact, Facts
from llbkit.grammar import Diagnostic, Leaf, Lifter, Source, Span, Syntax, load
from llbkit.grammar.lift import Branch
from llbkit.records import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a program, and what can be said about it."""

    span: Span

    @property
    def place(self) -> Place:
        """Where the part is."""
        return Place.covering(self.span)

    def error(self, message: str, *, code: str = "program", hint: str = "") -> ProgramError:
        """Return an error that points here."""
        return ProgramError(message, code=code, hint=hint, span=self.span)

    def warning(self, rule: str, message: str, *, detail: str = "", url: str = "") -> Diagnostic:
        """Return a rule's finding that points here; ``detail`` is what the rule is about, ``url`` where it is documented."""
        return Diagnostic(
            code=rule, message=message, spans=(self.span,), severity="warning", detail=detail, rule_url=url
        )


@dataclass(frozen=True, slots=True)
class Term(Part):
    """A word, or whatever else one terminal of the grammar is."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Clause(Part):
    """What one rule of the grammar is made of; keywords are left out."""

    rule: str
    parts: tuple[Clause | Term, ...]

    @property
    def clauses(self) -> tuple[Clause, ...]:
        """The parts that are clauses themselves."""
        return tuple(part for part in self.parts if isinstance(part, Clause))

    @property
    def words(self) -> tuple[str, ...]:
        """The texts of the terms that stand here directly."""
        return tuple(part.text for part in self.parts if isinstance(part, Term))


@dataclass(frozen=True, slots=True)
class ClauseSeen(Fact):
    """A clause stands in a program; rules may choose by its grammar rule."""

    clause: Clause

    @property
    def place(self) -> Place:
        """All of the clause."""
        return self.clause.place

    @property
    def keyword(self) -> str:
        """The rule of the grammar."""
        return self.clause.rule


class GrammarLanguage(Language[Clause]):
    """A language whose program is the tree that its grammar makes; ``grammar`` is a package (or module) and a name in it.

    A word that the grammar does not expect is compared with its keywords.
    """

    grammar: ClassVar[tuple[str, str]]

    def read(self, source: Source) -> Clause:
        """Return the tree. Raises DiagnosticError: the program is not in the language."""
        return spanned(_LIFTER.lift(_syntax(*self.grammar).parse(source)), source)

    def tell(self, program: Clause, facts: Facts) -> None:
        """Tell of every clause, in the program's order."""
        pending = [program]
        while pending:
            clause = pending.pop()
            facts.tell(ClauseSeen(clause))
            pending += reversed(clause.clauses)


_LIFTER = Lifter((), branches=True)


@cache
def _syntax(package: str, name: str) -> Syntax:
    grammar = load(package, name, positions=True)
    keywords = tuple(text for text in grammar.literals.values() if text.isalpha())
    return Syntax(grammar, words=keywords)


def spanned(branch: Branch, source: Source) -> Clause:
    """Return a tree with spans. Iterative: it may be deep."""
    stack: list[tuple[Branch, int, list[Clause | Term]]] = [(branch, 0, [])]
    while True:
        node, at, done = stack.pop()
        while at < len(node.parts):
            part = node.parts[at]
            at += 1
            if isinstance(part, Leaf):
                done.append(Term(source.span(part.start, part.end), part.kind, part.text))
            else:
                stack.append((node, at, done))
                node, at, done = part, 0, []
        clause = Clause(source.span(node.start, node.end), node.rule, tuple(done))
        if not stack:
            return clause
        stack[-1][2].append(clause)
