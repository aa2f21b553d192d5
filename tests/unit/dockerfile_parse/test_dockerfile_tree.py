# SPDX-License-Identifier: Apache-2.0
"""The generic tree: where its parts stand, and what is wrong with a file that has none."""

from __future__ import annotations

import pytest

from llbkit.frontends.dockerfile.syntax.ast import Node, ParsedFile
from llbkit.frontends.dockerfile.syntax.parse import parse
from llbkit.frontends.kit.directives import detect_syntax
from llbkit.grammar import Diagnostic, DiagnosticError, Source


def read(text: str) -> ParsedFile:
    return parse(Source("Dockerfile", text))


def only(text: str) -> Node:
    (node,) = read(text).nodes
    return node


def fault(text: str) -> Diagnostic:
    with pytest.raises(DiagnosticError) as caught:
        read(text)
    return caught.value.diagnostics[0]


def test_words_and_flags_know_their_place_across_continued_lines() -> None:
    node = only("COPY --from=a \\\n  # why\n  --chown=1:2 \\\n  src \\\n  /dest\n")
    assert [flag.span.text for flag in node.flags] == ["--from=a", "--chown=1:2"]
    assert [word.span.text for word in node.words] == ["src", "/dest"]
    assert node.words[1].span.start_line == 5
    assert node.value.span.text == "COPY"
    assert (node.span.start_line, node.span.end_line) == (1, 5)


def test_the_place_of_an_unquoted_flag_is_that_of_the_quoted_text() -> None:
    node = only('RUN --mount="type=cache,target=/x y" make\n')
    assert node.flags == ("--mount=type=cache,target=/x y",)
    assert node.flags[0].span.text == '--mount="type=cache,target=/x y"'


def test_keys_values_and_json_items_know_their_place() -> None:
    node = only('ENV a="b c" d=e\n')
    assert [word.span.text for word in node.words] == ["a", '"b c"', "=", "d", "e", "="]
    node = only('CMD [ "a b", "\\u0041" ]\n')
    assert node.tokens == ("a b", "A")
    assert [word.span.text for word in node.words] == ['"a b"', '"\\u0041"']


def test_the_child_of_onbuild_knows_its_place() -> None:
    child = only("ONBUILD   COPY --from=a \\\n  b c\n").child
    assert child is not None
    assert child.original == "COPY --from=a   b c"
    assert child.value.span.text == "COPY"
    assert child.flags[0].span.text == "--from=a"
    assert child.words[1].span.text == "c"


def test_a_heredoc_knows_its_body() -> None:
    node = only("COPY <<A <<-B /d/\none\nA\n\ttwo\n\tB\n")
    assert [(doc.name, doc.content, doc.span.text) for doc in node.heredocs] == [
        ("A", "one\n", "one"),
        ("B", "\ttwo\n", "\ttwo"),
    ]
    assert [(doc.mark.span.text, doc.closing.text) for doc in node.heredocs] == [
        ("<<A", "A"),
        ("<<-B", "\tB"),
    ]
    assert node.heredocs[1].content.range_span(1, 4).text == "two"
    assert (node.start_line, node.end_line) == (1, 5)


def test_comments_know_their_place() -> None:
    file = read("# escape=`\n# a\n  # b\nRUN x `\n # c\n y <<E\n# text\nE\n#\nUSER z # no\n#d")
    assert [span.text for span in file.comments] == ["# a", "# b", "# c", "#", "#d"]
    assert [comment.span.text for comment in file.nodes[0].prev_comment] == ["a", "# b"]
    assert file.nodes[0].prev_comment[0].span.start_column == 2


def test_heredoc_bodies_keep_their_line_ends() -> None:
    assert only("RUN <<E\r\na\r\nE\r\n").heredocs[0].content == "a\r\n"


def test_a_heredoc_under_onbuild_belongs_to_the_outer_instruction() -> None:
    node = only("ONBUILD RUN <<E\na\nE\n")
    assert node.heredocs[0].content == "a\n"


@pytest.mark.parametrize("line", ["CMD <<E", 'RUN ["<<E"]', "RUN a<<", "ENV a=<<E", "RUN '<<E'"])
def test_what_only_looks_like_a_heredoc_is_none(line: str) -> None:
    assert only(line + "\n").heredocs == ()


def test_a_byte_order_mark_is_no_part_of_the_first_word() -> None:
    node = only("\ufeffFROM x\n")
    assert node.value.span.text == "FROM"


def test_bytes_that_are_not_utf8_survive_in_the_line() -> None:
    source = Source.from_bytes("Dockerfile", b"RUN echo \xff\n")
    (node,) = parse(source).nodes
    assert node.original.encode("utf-8", "surrogateescape") == b"RUN echo \xff"


@pytest.mark.parametrize("array", ["[NaN]", "[1e999]", "['a']", '["a",]', "[" * 5000, '["a"] x', '["a\tb"]'])
def test_what_is_no_json_array_is_a_shell_command(array: str) -> None:
    node = only(f"CMD {array}\n")
    assert not node.json
    assert node.tokens == (array,)


def test_unpaired_surrogates_in_json_become_replacement_characters() -> None:
    assert only('CMD ["\\ud800", "\\ud83d\\ude00"]\n').tokens == ("\ufffd", "\U0001f600")


@pytest.mark.parametrize("array", ["[1]", "[true]", '["a", null]', "[[]]", "[{}]"])
def test_a_json_array_must_hold_strings_only(array: str) -> None:
    found = fault(f"FROM x\nRUN {array}\n")
    assert found.message == "when using JSON array syntax, arrays must be comprised of strings only"
    assert found.span is not None
    assert found.span.start_line == 2


def test_an_open_heredoc_says_how_to_end_it() -> None:
    found = fault("RUN <<EOF\na\n")
    assert found.message == "unterminated heredoc"
    assert [span.start_line for span in found.spans] == [1, 2]
    assert "EOF" in found.help


def test_chained_onbuild_is_refused_before_it_nests_too_deep() -> None:
    assert fault("ONBUILD " * 5000 + "RUN x").code == "onbuild-chain"


@pytest.mark.parametrize("text", ["", "\n", "# a\n", "  \n#\n", "\ufeff"])
def test_a_file_without_instructions_is_refused(text: str) -> None:
    assert fault(text).message == "file with no instructions"


def test_a_directive_counts_only_at_the_top() -> None:
    assert read("# escape=`\nRUN a\n").escape == "`"
    assert read("\n# escape=`\nRUN a\n").escape == "\\"
    assert read("# note\n# escape=`\nRUN a\n").escape == "\\"


def test_after_a_shebang_directives_are_found_but_the_escape_stays() -> None:
    file = read("#!/usr/bin/x\n# syntax=a/b extra\n# escape=`\nRUN a\n")
    assert file.directives["syntax"].first_word == "a/b"
    assert file.escape == "\\"


def test_a_repeated_directive_shows_both_lines() -> None:
    found = fault("# syntax=a\n# syntax=b\nFROM x\n")
    assert [related.span.start_line for related in found.related] == [2, 1]


@pytest.mark.parametrize(
    ("text", "value", "line"),
    [
        ("# syntax=a b\n", "a b", 1),
        ("// syntax=a\n{}", "a", 1),
        ("#!/bin/x\n// syntax=a\n", "a", 2),
        ('{"syntax": "a"}', "a", 0),
    ],
)
def test_the_syntax_of_other_languages_is_found(text: str, value: str, line: int) -> None:
    found = detect_syntax(Source("f", text))
    assert found is not None
    assert (found.value, found.line) == (value, line)


@pytest.mark.parametrize("text", ["", "FROM x", '{"syntax": 1}', "[" * 100_000, "x\n# syntax=a"])
def test_a_file_may_have_no_syntax(text: str) -> None:
    assert detect_syntax(Source("f", text)) is None


def test_blank_continuations_are_warned_about_once() -> None:
    (warning,) = read("RUN a \\\n\n\n  b\n").warnings
    assert warning.lines == (4, 4)
