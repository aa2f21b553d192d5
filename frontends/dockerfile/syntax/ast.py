# SPDX-License-Identifier: Apache-2.0
"""The generic tree of a Dockerfile: one node per instruction, before instructions get their own types.

The facts in it (joined line, flags, token chain, line numbers, comments, heredocs) are those of BuildKit's
parser, recorded in the ``ast`` reference vectors. On top of them every word of a node knows where it stands in
the source, so that later stages can point at a character and not only at a line.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from llbkit.frontends.dockerfile.syntax.words import Word
from llbkit.frontends.kit.errors.places import Place
from llbkit.frontends.kit.golang.quote import go_quote
from llbkit.grammar.patterns.match import SPACE
from llbkit.records import dataclass

if TYPE_CHECKING:
    from llbkit.frontends.kit.directives import Directive
from llbkit.grammar import Source, Span

ESCAPES = frozenset("\\`")
"""The characters that the ``escape`` directive may choose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heredoc:
    """One ``<<NAME`` document. ``content`` is as written: tabs of ``<<-`` are not stripped yet."""

    name: str
    content: Word
    span: Span
    """The body, without the line that ends it."""
    mark: Word
    """The word that names it, such as ``<<EOF``."""
    closing: Span
    """The line that ends it."""
    expand: bool = True
    """False if any part of the name was quoted."""
    chomp: bool = False
    """True for ``<<-``."""
    fd: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One instruction."""

    value: Word
    """The instruction word as written."""
    original: str
    """The joined line: continuations removed, heredoc bodies not included."""
    span: Span
    """All physical lines of the instruction, heredoc bodies included."""
    start_line: int
    end_line: int
    tokens: tuple[Word | Node, ...] = ()
    """The argument chain, or the instruction inside ONBUILD alone; ENV and LABEL have three a pair: key, value, ``=`` (or empty for the old form)."""
    flags: tuple[Word, ...] = ()
    """The ``--name=value`` words, unquoted; what is beyond ASCII as `byte_runes`."""
    json: bool = False
    """True for the exec (JSON) form."""
    prev_comment: tuple[Word, ...] = ()
    """The comments above it, from the first character on."""
    heredocs: tuple[Heredoc, ...] = ()

    @property
    def place(self) -> Place:
        """All its lines."""
        return Place.covering(self.span)

    @property
    def keyword(self) -> str:
        """The instruction word in lower case."""
        return self.value.lower()

    @property
    def attributes(self) -> dict[str, bool]:
        """BuildKit's attribute map: ``{"json": True}`` for the exec form."""
        return {"json": True} if self.json else {}

    @property
    def words(self) -> tuple[Word, ...]:
        """The tokens that are words; ONBUILD's child is left out."""
        if self.tokens and isinstance(self.tokens[0], Node):
            return ()
        return self.tokens  # type: ignore[return-value]  # ONBUILD's alone is no word

    @property
    def child(self) -> Node | None:
        """The instruction inside ONBUILD."""
        first = self.tokens[0] if self.tokens else None
        return first if isinstance(first, Node) else None

    def dump(self) -> str:
        """Return the node as BuildKit's s-expression."""
        parts = [self.value.lower()]
        if self.flags:
            parts.append(f"[{' '.join(map(go_quote, self.flags))}]")
        parts += [go_quote(token) if isinstance(token, str) else token.dump() for token in self.tokens]
        return f"({' '.join(parts)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseWarning:
    """A warning of the parser itself, in BuildKit's words."""

    short: str
    detail: tuple[str, ...]
    url: str
    lines: tuple[int, int]
    span: Span
    blank: tuple[Span, ...]
    """The empty lines, with their line ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFile:
    """A whole Dockerfile."""

    source: Source
    nodes: tuple[Node, ...]
    escape: str = "\\"
    directives: dict[str, Directive] = field(default_factory=dict)
    warnings: tuple[ParseWarning, ...] = ()

    @property
    def comments(self) -> tuple[Span, ...]:
        """Every comment, from its ``#`` on: those inside of instructions too, directives and text of heredocs not."""
        taken = {directive.line for directive in self.directives.values()}
        for heredoc in (heredoc for node in self.nodes for heredoc in node.heredocs):
            taken.update(range(heredoc.span.start_line, heredoc.closing.end_line + 1))
        found = []
        for number in range(1, self.source.line_count + 1):
            line = self.source.lines(number, number)
            text = line.text.removeprefix("\ufeff") if number == 1 else line.text
            start = line.end - len(text.lstrip(SPACE))
            if number not in taken and self.source.text.startswith("#", start):
                found.append(self.source.span(start, line.end))
        return tuple(found)

    @property
    def start_line(self) -> int:
        """The first line of the first instruction."""
        return self.nodes[0].start_line

    @property
    def end_line(self) -> int:
        """The last line of the last instruction."""
        return self.nodes[-1].end_line

    def dump(self) -> str:
        """Return the file as BuildKit's s-expressions, one instruction a line."""
        return "\n".join(node.dump() for node in self.nodes)
