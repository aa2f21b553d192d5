# SPDX-License-Identifier: Apache-2.0
"""Text to the generic tree, through ``grammar/dockerfile.lark``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llbkit.frontends.dockerfile.syntax import directives
from llbkit.frontends.dockerfile.syntax.ast import Node, ParsedFile, ParseWarning
from llbkit.frontends.dockerfile.syntax.lexer import DockerfileLexer, Text
from llbkit.frontends.dockerfile.syntax.lines import Joined
from llbkit.frontends.dockerfile.syntax.words import Word
from llbkit.frontends.kit.directives import Directive, has_shebang
from llbkit.grammar import Diagnostic, DiagnosticError, Source
from llbkit.grammar.loader import load
from llbkit.llb.ir.walk import no_garbage


def parse(source: Source, *, any_length: bool = False) -> ParsedFile:
    """Parse a Dockerfile. Cost: linear in its length. ``any_length`` takes lines that BuildKit finds too long.

    Raises:
        DiagnosticError: A directive, heredoc or argument list is malformed, a line is too long, or there is no instruction.
    """
    found = directives.scan(source)
    escape = directives.escape_of(source, found)
    with no_garbage():
        tree = load("llbkit.grammar", "dockerfile", lexer=DockerfileLexer).parse(
            Text(source, escape, _first_line(source, found), any_length=any_length)
        )
        nodes, warnings = _Builder(source).file(tree.root)
    if not nodes:
        raise _no_instructions(source)
    return ParsedFile(source=source, nodes=nodes, escape=escape, directives=found, warnings=warnings)


def _first_line(source: Source, found: Mapping[str, Directive]) -> int:
    """The line after the directives, which are no comments. After a ``#!`` line they are, as in BuildKit."""
    if has_shebang(source):
        return 1
    return max((directive.line for directive in found.values()), default=0) + 1


def _no_instructions(source: Source) -> DiagnosticError:
    last = source.line_count - 1 if source.text.endswith("\n") else source.line_count
    spans = (source.lines(last, last),) if source.text else ()
    return DiagnosticError(
        Diagnostic(
            code="no-instructions",
            message="file with no instructions",
            spans=spans,
            help="begin with FROM image",
        )
    )


class _Builder:
    """Turns Lark's tree into nodes: a tree for each instruction, then its END token."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def file(self, root: Any) -> tuple[tuple[Node, ...], tuple[ParseWarning, ...]]:
        """Return the nodes of a whole file and the warnings found while reading it."""
        nodes: list[Node] = []
        warnings: list[ParseWarning] = []
        for tree, end in zip(root.children[::2], root.children[1::2], strict=True):
            nodes.append(self._node(tree, end.value.line, comments=end.value.line.comments))
            warnings += end.value.warnings
        return tuple(nodes), tuple(warnings)

    def _node(self, tree: Any, line: Joined, *, comments: tuple[Word, ...] = (), child: bool = False) -> Node:
        keyword, *rest = tree.children
        tokens: list[Word | Node] = []
        flags: list[Word] = []
        json = False
        for item in rest:
            if not hasattr(item, "type"):
                tokens.append(self._node(item, line, child=True))
                continue
            word: Word = item.value
            match item.type:
                case "FLAG":
                    flags.append(word)
                case "JSON":
                    json = True
                case "HEREDOC":
                    pass
                case "VALUE":
                    at = max(word.start - 1, 0)
                    tokens += (word, Word("=", line.line_map, at, word.start))
                case "OLD_VALUE":
                    tokens += (word, Word("", line.line_map, word.start, word.start))
                case _:
                    tokens.append(word)
        head: Word = keyword.value
        if tree.data == "unknown":
            tokens.append(Word("", line.line_map, head.end, head.end))
        return Node(
            value=head,
            original=line.text[head.start :].strip() if child else line.text,
            span=self._source.lines(line.first, line.last),
            start_line=0 if child else line.first,
            end_line=0 if child else line.last,
            tokens=tuple(tokens),
            flags=tuple(flags),
            json=json,
            prev_comment=comments,
            heredocs=() if child else line.heredocs,
        )
