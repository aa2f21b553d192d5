# SPDX-License-Identifier: Apache-2.0
"""Whatever the bytes: parsing gives a tree or a diagnostic, and a tree's parts stand where they say."""

from __future__ import annotations

import re
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from llbkit.frontends.dockerfile.program.words import Mode, WordError, expand
from llbkit.frontends.dockerfile.syntax.ast import Node, ParsedFile
from llbkit.frontends.dockerfile.syntax.parse import parse
from llbkit.frontends.kit.directives import detect_syntax
from llbkit.frontends.kit.inputs.ignore import read_patterns
from llbkit.grammar import DiagnosticError, Source
from llbkit.grammar.loader import load
from llbkit.grammar.patterns.match import PatternError, PatternMatcher
from llbkit.grammar.word_lexer import WordInput, WordLexer

FRAGMENTS = [
    "FROM x", "RUN ", "ENV ", "COPY ", "ONBUILD ", "HEALTHCHECK ", "ARG a=", "CMD [", '"a"', "'", '"', "]", ",", "=",
    "\\", "`", "\\\n", "`\n", "\n", "\r\n", " ", "\t", "#", "# escape=`\n", "<<E", "<<-'E'", "\nE\n", "--a=", "$A",
    "${A:-", "}", "/", "é", "\ufeff", "\x85", "\u3000", "\x00", "\udcff", "[1]", "1<<",
]  # fmt: skip
dockerfiles = st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join)
WORDS = [
    "$",
    "{",
    "}",
    "${",
    "A",
    "1",
    ":",
    "-",
    "+",
    "?",
    "#",
    "%",
    "/",
    "'",
    '"',
    "\\",
    "`",
    " ",
    "<",
    "*",
    "é",
    "\n",
]
words = st.lists(st.sampled_from(WORDS), max_size=20).map("".join)
modes = st.builds(
    Mode,
    escape=st.sampled_from("\\`"),
    raw_quotes=st.booleans(),
    raw_escapes=st.booleans(),
    skip_process_quotes=st.booleans(),
    skip_unset_env=st.booleans(),
)
ENV = {"A": "a b/c", "1": ""}


def check(source: Source) -> None:
    detect_syntax(source)
    try:
        file = parse(source)
    except DiagnosticError as error:
        first, shown = error.diagnostics[0], error.diagnostics[0].render()
    else:
        check_file(source, file)
        return
    assert shown.startswith(f"error: {first.message}")


def check_file(source: Source, file: ParsedFile) -> None:
    assert file.dump().count("\n") >= len(file.nodes) - 1
    last = 0
    for node in file.nodes:
        assert last < node.start_line <= node.end_line <= source.line_count
        last = node.end_line
        check_node(node)


def check_node(node: Node) -> None:
    assert all(flag.span.text.startswith("--") for flag in node.flags)
    if not node.json and node.keyword in ("from", "expose", "copy", "add", "volume"):
        for token in node.words:
            joined = token.span.text
            assert joined == token or "\n" in joined
    if node.child is not None:
        check_node(node.child)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_tree_or_a_diagnostic(data: bytes) -> None:
    check(Source.from_bytes("Dockerfile", data))


@settings(max_examples=300, deadline=None)
@given(dockerfiles)
def test_parts_of_a_dockerfile_in_any_order_give_a_tree_or_a_diagnostic(text: str) -> None:
    check(Source("Dockerfile", text))


@settings(max_examples=300, deadline=None)
@given(dockerfiles)
def test_joined_lines_parse_to_the_same_tree(text: str) -> None:
    try:
        file = parse(Source("Dockerfile", text))
    except DiagnosticError:
        return
    lines = [node.original for node in file.nodes]
    printed = "\n".join(lines)
    if any("<<" in line or line.strip().startswith("#") or not line.strip() for line in lines):
        return
    if any(line.rstrip(" \t").endswith(("\\", "`")) or "\r" in line or "\ufeff" in line for line in lines):
        return
    directive = "# escape=`\n" if file.escape == "`" else ""
    assert parse(Source("Dockerfile", directive + printed)).dump() == file.dump()


@settings(max_examples=500, deadline=None)
@given(words, modes)
def test_any_word_expands_or_is_refused(word: str, mode: Mode) -> None:
    try:
        found = expand(word, ENV, mode)
    except WordError as error:
        message = str(error)
    else:
        assert all(found.words)
        return
    assert message.startswith("failed to process ")


@settings(max_examples=300, deadline=None)
@given(words, st.sampled_from("\\`"), st.booleans())
def test_the_lexer_of_words_yields_the_terminals_that_the_grammar_describes(
    word: str, escape: str, quotes: bool
) -> None:
    terminals = load("llbkit.grammar", "words", WordLexer).terminals
    at = 0
    for token in WordLexer(None).lex(WordInput(word, escape, quotes)):
        assert (token.start_pos, token.end_pos) == (at, max(at, token.end_pos or 0))
        at = token.end_pos or 0
        if token.type in ("UNCLOSED", "MALFORMED") or "\ufffd" in token:
            continue
        written = (
            str(token)
            if escape == "\\" or token.type not in ("ESCAPED", "TRAILING_ESCAPE", "LONE_ESCAPE")
            else ("\\" + token[1:])
        )
        if token.type != "TEXT":
            assert re.fullmatch(terminals[token.type], written), token.type


@settings(deadline=None)
@given(st.lists(st.text("ab*?/[]!-^\\. ", max_size=8), max_size=4), st.text("ab/.", max_size=8))
def test_any_patterns_answer_or_are_refused(patterns: list[str], path: str) -> None:
    with suppress(PatternError):
        matcher = PatternMatcher(patterns)
        matcher.walk(path, matcher.walk("a"))
        matcher.matches_or_parent(path)
    with suppress(PatternError):
        PatternMatcher(read_patterns("\n".join(patterns))).matches_or_parent(path)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["a", "b", "*", "**", "?"]), min_size=1, max_size=4),
    st.lists(st.sampled_from("ab"), min_size=1, max_size=4),
)
def test_without_exclusions_a_walk_and_a_single_question_agree(pattern: list[str], path: list[str]) -> None:
    matcher = PatternMatcher(["/".join(pattern)])
    state = None
    for count in range(len(path)):
        state = matcher.walk("/".join(path[: count + 1]), state)
    assert state is not None
    assert state.ignored == matcher.matches_or_parent("/".join(path))
