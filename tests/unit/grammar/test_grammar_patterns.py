# SPDX-License-Identifier: Apache-2.0
"""Path patterns beyond the recorded vectors."""

from __future__ import annotations

import pytest

from llbkit.grammar.patterns.goregex import GoRegexError, compile_go
from llbkit.grammar.patterns.match import PatternError, PatternMatcher, clean_path, has_wildcard


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        ("", "."),
        (".", "."),
        ("a//b/", "a/b"),
        ("a/../..", ".."),
        ("/..", "/"),
        ("/a/./b", "/a/b"),
        ("../a", "../a"),
    ],
)
def test_paths_are_cleaned_as_go_cleans_them(path: str, cleaned: str) -> None:
    assert clean_path(path) == cleaned


def test_matches_asks_for_the_path_alone() -> None:
    matcher = PatternMatcher(["a"])
    assert matcher.matches("a")
    assert not matcher.matches("a/b")
    assert matcher.matches_or_parent("a/b")


def test_a_walk_carries_what_matched_the_directory() -> None:
    matcher = PatternMatcher(["d", "!d/keep"])
    directory = matcher.walk("d")
    assert directory.ignored
    assert matcher.walk("d/x", directory).ignored
    assert not matcher.walk("d/keep", directory).ignored
    assert not matcher.walk("d/keep/x", matcher.walk("d/keep", directory)).ignored


def test_a_walk_may_start_below_the_root() -> None:
    assert PatternMatcher(["a"]).walk("a/b/c").ignored


def test_answers_kept_by_directory_do_not_leak_between_directories() -> None:
    matcher = PatternMatcher(["a/b"])
    assert matcher.matches_or_parent("a/b/c")
    assert not matcher.matches_or_parent("a/x/c")
    assert not matcher.matches_or_parent("b")


@pytest.mark.parametrize("pattern", ["[a", "a\\", "[]a]", "[-a]", "[a-]", "[\\", "!", "[^]"])
def test_malformed_patterns_are_refused_when_compiled(pattern: str) -> None:
    with pytest.raises(PatternError):
        PatternMatcher([pattern])


@pytest.mark.parametrize("pattern", ["[z-a]", "a\\q*", "*\\1"])
def test_patterns_that_make_no_expression_are_refused_when_asked(pattern: str) -> None:
    matcher = PatternMatcher([pattern])
    with pytest.raises(PatternError, match="syntax error in pattern"):
        matcher.matches("a")


def test_a_list_without_patterns_matches_nothing() -> None:
    matcher = PatternMatcher(["", "  "])
    assert not matcher
    assert not matcher.matches_or_parent("a/b")
    assert not matcher.walk("a").ignored


def test_a_line_end_is_an_ordinary_character_of_a_name() -> None:
    assert PatternMatcher(["a?b"]).matches("a\nb")
    assert not PatternMatcher(["a*"]).matches("a/\n")


@pytest.mark.parametrize(
    ("expression", "text", "found"),
    [
        (r"^\x41$", "A", True),
        (r"^\x{17e}$", "ž", True),
        (r"^\101$", "A", True),
        (r"^[[:digit:]]$", "7", True),
        (r"^[[:^digit:]]$", "7", False),
        (r"^[^\d]$", "x", True),
        (r"^\D$", "x", True),
        (r"^[a\]]$", "]", True),
        (r"^\Qa.b\E$", "a.b", True),
        (r"^\Qa.b\E$", "axb", False),
        ("a$", "a\n", False),
        (r"^\w$", "é", False),
        (r"^[]a]$", "]", True),
    ],
)
def test_expressions_mean_what_they_mean_to_go(expression: str, text: str, found: bool) -> None:
    assert (compile_go(expression).search(text) is not None) is found


@pytest.mark.parametrize(
    "expression", [r"\1", r"\q", "\\", "[z-a]", "[[:nope:]]", r"\x{110000}", "[a", "\\é"]
)
def test_expressions_that_go_refuses_are_refused(expression: str) -> None:
    with pytest.raises(GoRegexError):
        compile_go(expression)


def test_an_absolute_pattern_of_a_list_matches_absolute_paths_alone() -> None:
    matcher = PatternMatcher(["/srv", "//opt/../var/"])
    for path, found in [
        ("/srv", True),
        ("/srv/www", True),
        ("srv", False),
        ("srv/www", False),
        ("/var/x", True),
    ]:
        assert matcher.matches_or_parent(path) is found
    assert matcher.walk("/srv/www", matcher.walk("/srv")).ignored
    assert not matcher.walk("srv/www", matcher.walk("srv")).ignored


@pytest.mark.parametrize("path", ["a*", "?", "b/[a]", "\\\\*", "a\\b*"])
def test_a_wildcard_makes_a_source_a_pattern(path: str) -> None:
    assert has_wildcard(path)


@pytest.mark.parametrize("path", ["", "a", "a\\*", "\\[a]", "a\\b", "a\\", "^a", "a]"])
def test_a_source_without_wildcards_is_a_name(path: str) -> None:
    assert not has_wildcard(path)
