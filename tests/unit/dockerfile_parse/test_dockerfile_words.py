# SPDX-License-Identifier: Apache-2.0
"""Expansion of words beyond the recorded vectors, and reading of ignore files."""

from __future__ import annotations

import pytest

from llbkit.frontends.dockerfile.program.words import Expansion, Mode, WordError, expand
from llbkit.frontends.kit.inputs.ignore import read_patterns
from llbkit.grammar.patterns.match import PatternError, PatternMatcher

ENV = {"A": "one two", "P": "/usr/lib/x.so", "E": "", "NL": "a\nb"}


def text(word: str) -> str:
    return expand(word, ENV).text


def error(word: str) -> str:
    with pytest.raises(WordError) as caught:
        expand(word, ENV)
    return str(caught.value).partition(": ")[2]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("${P##*/}-${P%.*}", "x.so-/usr/lib/x"),
        ("${NONE:-${P#/usr}}", "/lib/x.so"),
        ('"${NONE:-"a b"}"', "a b"),
        ("${A//o/0}", "0ne tw0"),
        ("${A//o/[$0]}", "[]ne tw[]"),
        ("${A/o/\\$0}", "\\$0ne two"),
        ("${A//o/'$0'}", "one two"),
        ("${NL#*}", "a\nb"),
        ("${NL##*}", "\nb"),
        ("${E//*/x}", "x"),
        ("${A//*/x}", "x"),
        ("$A$", "one two$"),
    ],
)
def test_operators_combine(word: str, expected: str) -> None:
    assert text(word) == expected


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("${P#\\q}", "invalid pattern (\\q) in substitution: invalid escape '\\q'"),
        ("${A:#x}", "unsupported modifier (:#) in substitution"),
        ("${A:", "syntax error: missing '}'"),
        ("${#A}", "unsupported modifier (A) in substitution"),
        ("${A/x", "syntax error: missing '/' in ${}"),
        ("${A/x/y", "syntax error: missing '}'"),
        ("${NONE:-${NONE?no}", "syntax error: missing '}'"),
        ("${NONE:-${NONE?no}}", "NONE: no"),
        ("${NONE:-'}", "syntax error: missing '}'"),
        ('${NONE:-"$A}', "syntax error: missing '}'"),
    ],
)
def test_errors_are_told_as_the_reference_tells_them(word: str, message: str) -> None:
    assert error(word) == message


def test_words_inside_braces_are_split_apart_from_what_comes_before() -> None:
    assert expand("pre${NONE:-a b}post", ENV).words == ["a", "bpost"]


def test_a_heredoc_mark_keeps_its_word() -> None:
    assert expand("cat << EOF <<- 'X Y'", ENV, Mode(raw_quotes=True)).words == ["cat", "<< EOF", "<<- 'X Y'"]


def test_variables_looked_up_before_an_error_are_known() -> None:
    seen = Expansion()
    with pytest.raises(WordError):
        expand("$A $NONE ${A!} $E", ENV, seen=seen)
    assert (seen.matched, seen.unmatched) == ({"A"}, {"NONE"})


def test_substitutions_may_nest_only_so_deep() -> None:
    assert text("${NONE:-" * 100 + "x" + "}" * 100) == "x"
    assert "nested too deeply" in error("${NONE:-" * 200 + "x" + "}" * 200 + " ")


def test_names_may_be_letters_of_any_script_but_only_decimal_digits() -> None:
    assert expand("$é1²", {"é1": "x"}).text == "x²"


def test_undecodable_bytes_become_replacement_characters() -> None:
    assert text("a\udcff") == "a\ufffd"
    assert text("\udcff$A") == "\ufffdone two"


def test_ignore_files_are_read_line_by_line() -> None:
    assert read_patterns("\ufeff# x\r\n/a/\r\n!/b\n ! c \n\n\\#d") == ["a", "!b", "!c", "\\#d"]


def test_an_overlong_line_is_refused() -> None:
    with pytest.raises(PatternError, match="token too long"):
        read_patterns("a" * 65536)
    assert read_patterns("a" * 65535 + "\nb")[1] == "b"


def test_a_lone_exclamation_mark_is_refused_when_compiled() -> None:
    with pytest.raises(PatternError, match="illegal exclusion pattern"):
        PatternMatcher(read_patterns("!\n"))
