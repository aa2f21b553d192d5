# SPDX-License-Identifier: Apache-2.0
"""What is printed parses to the same tree; every node's parts stand in the text where they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from llbkit.frontends.dockerfile.syntax.ast import Node, ParsedFile
from llbkit.frontends.dockerfile.syntax.parse import parse
from llbkit.frontends.dockerfile.syntax.printing import print_file
from llbkit.frontends.dockerfile.syntax.words import byte_runes
from llbkit.grammar import DiagnosticError, Source, Span
from tests.support.dockerfiles import dockerfiles

VECTORS = Path(__file__).parents[2] / "conformance" / "vectors"
RECORDED = [case["dockerfile"] for case in json.loads((VECTORS / "dockerfile.open.json").read_text())]


def read(text: str) -> ParsedFile | None:
    try:
        return parse(Source("Dockerfile", text))
    except DiagnosticError:
        return None


def shape(node: Node) -> tuple[Any, ...]:
    """All that a node says, without its places."""
    heredocs = [(h.fd, h.chomp, h.name, h.expand, h.content) for h in node.heredocs]
    tokens = [token if isinstance(token, str) else shape(token) for token in node.tokens]
    return node.value, tokens, node.flags, node.json, node.prev_comment, heredocs


def same(first: ParsedFile, second: ParsedFile) -> None:
    assert list(map(shape, first.nodes)) == list(map(shape, second.nodes))
    assert first.escape == second.escape
    ours, theirs = (
        {d.name: d.value for d in file.directives.values() if d.name != "escape"} for file in (first, second)
    )
    assert ours == theirs


def check_round_trip(text: str) -> None:
    file = read(text)
    if file is None:
        return
    printed = print_file(file)
    again = read(printed)
    assert again is not None, printed
    same(file, again)
    assert print_file(again) == printed
    check_spans(file, text)
    check_spans(again, printed)


def check_spans(file: ParsedFile, text: str) -> None:
    for node in file.nodes:
        assert text.startswith(node.span.text, node.span.start)
        assert node.span.start_line == node.start_line
        assert node.span.end_line <= node.end_line, (
            "lines that are left empty at the end are no part of the span"
        )
        check_parts(node, node.span)
        for heredoc in node.heredocs:
            assert inside(heredoc.span, node.span)
            assert (
                heredoc.content.replace("\r\n", "\n").rstrip("\r\n")
                in heredoc.span.text.replace("\r\n", "\n")
                or not heredoc.content
            )


def inside(span: Span, outer: Span) -> bool:
    return outer.start <= span.start <= span.end <= max(outer.end, span.start)


def check_parts(node: Node, whole: Span) -> None:
    plain = len(node.value.line.starts) == 1
    assert all(inside(word.span, whole) for word in (*node.words, *node.flags, node.value))
    if plain and not node.json:
        assert node.value.span.text == node.value
        for token in node.words:
            if node.keyword in (
                "from",
                "expose",
                "run",
                "user",
                "workdir",
                "copy",
            ):
                assert token.span.text == token
        for flag in node.flags:
            written = flag.span.text
            assert written.startswith("--")
            assert byte_runes(written) == flag or any(char in written for char in "'\"\\")
    if node.child is not None:
        check_parts(node.child, whole)


@settings(max_examples=250, deadline=None)
@given(dockerfiles())
def test_drawn_files(text: str) -> None:
    check_round_trip(text)


def test_recorded_files() -> None:
    for text in RECORDED:
        check_round_trip(text)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("from a \\\n  as b", "from a as b\n"),
        ("# escape=`\nFROM a\nRUN x `\n y", "# escape=`\n\nFROM a\nRUN x  y\n"),
        ("FROM a\nRUN --x='y z' --mount=a\\\\b c", 'FROM a\nRUN --x="y z" --mount="a\\\\b" c\n'),
        ('CMD [ "a" ,"b"]', 'CMD ["a", "b"]\n'),
        ("ENV a  b c\nENV d=1 \\\n# no\n e='2 3'", "ENV a b c\nENV d=1 e='2 3'\n"),
        ("FROM a\n# why\nRUN  x \\\n y\n", "FROM a\n# why\nRUN x  y\n"),
        ("# one\n\n# two\nARG a", "# one\n# two\nARG a\n"),
        ("COPY <<A <<-B /\n1\nA\n\t2\n\tB\n", "COPY <<A <<-B /\n1\nA\n\t2\nB\n"),
        ("ONBUILD  RUN  --mount=x   y", "ONBUILD RUN --mount=x y\n"),
        ("RUN -- --x", "RUN -- --x\n"),
        ("FOO  bar", "FOO  bar\n"),
        ("\n# escape=`\nFROM a\\b", "\n# escape=`\nFROM a\\b\n"),
        ('HEALTHCHECK --retries=3 CMD ["a"]', 'HEALTHCHECK --retries=3 CMD ["a"]\n'),
    ],
)
def test_examples(text: str, printed: str) -> None:
    file = read(text)
    assert file is not None
    assert print_file(file) == printed
    check_round_trip(text)


@pytest.mark.parametrize("word", ["x", "é ", "# ", "  #", "a\\\\\\\\", "日本"])
@pytest.mark.parametrize("escape", ["\\", "`"])
def test_what_no_line_holds_is_continued(word: str, escape: str) -> None:
    head = "# escape=`\n" if escape == "`" else ""
    pieces = f"{escape}\n".join([word * 5000] * 30) if not word.startswith(("#", " ")) else word * 20000
    text = f"{head}FROM a\nRUN {pieces}\nCMD {pieces} end\n"
    file = read(text)
    assert file is not None
    assert "x" not in word or any(line.endswith(escape) for line in print_file(file).split("\n"))
    check_round_trip(text)


def test_a_comment_that_fills_its_line_is_printed_as_long() -> None:
    check_round_trip(f"FROM a\n#{'c' * 65534}\nRUN x\n")
