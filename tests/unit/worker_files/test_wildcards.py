# SPDX-License-Identifier: Apache-2.0
"""Wildcards choose names; the names they chose are data."""

from __future__ import annotations

import fnmatch
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llbkit.grammar.patterns.match import PatternMatcher
from llbkit.llb.ir.ops import Copy
from llbkit.worker.base import SourceError
from llbkit.worker.fs.select.selection import of_copy
from llbkit.worker.fs.select.wildcards import as_pattern, component_matcher, literal_pattern, whole_pattern
from llbkit.worker.session.directory import LocalDirectory
from llbkit.worker.sources.localtree import LocalTree
from llbkit.worker.sources.statcache import StatCache

NAMES = [
    "a*b", "a\\b", "a b", " lead", "trail ", "a^b", "^x", "x]y", "[q]", "!neg", "aXb", "*", "?.txt", "a*.txt",
    "pages/[id].js", "pages/b\\s.txt", "d[d]/f", "dx/f", "package.json", "a/package.json", "a/b/c/package.json",
    "a/b/c/f", "a/f", "k\\e/f", "ke/g", "b\\*",
]  # fmt: skip
CHARS = st.sampled_from("ab*?[]\\^! .-")


def chosen(context, src: str, **more: object) -> list[str]:
    """Return the files that ``COPY src /dest/`` takes when it is the only one that reads the context."""
    selection = of_copy(
        Copy(src=src, dest="/dest/", follow_symlink=True, allow_wildcard=True, dir_copy_contents=True, **more)
    )
    followed = "/".join([src.strip("/"), *selection.include]).strip("/")
    tree = LocalTree(LocalDirectory(context), StatCache(str(context), None), follow=[followed])
    return sorted(pick.path for root in selection.roots(tree) for pick in root.picks if not pick.node.is_dir)


@pytest.fixture
def context(tmp_path):
    for name in NAMES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize(
    ("src", "expected"),
    [
        ("*.txt", ["?.txt", "a*.txt"]),
        ("?.txt", ["?.txt"]),
        ("a*b", ["a b", "a*b", "aXb", "a\\b", "a^b"]),
        ("a[*]b", ["a*b"]),
        ("a[^a-z]b", ["a b", "a*b", "aXb", "a\\b", "a^b"]),
        ("pages/*", ["pages/[id].js", "pages/b\\s.txt"]),
        ("pages/[[]id].js", ["pages/[id].js"]),
        ("d*/f", ["d[d]/f", "dx/f"]),
        ("[[]q]", ["[q]"]),
        ("a^*", ["a^b"]),
        ("!n*", ["!neg"]),
        (" lead", [" lead"]),
        ("trail ", ["trail "]),
        ("x]y", ["x]y"]),
        ("**/package.json", ["a/package.json"]),
        ("a**/f", ["a/f"]),
        ("a\\b", ["a\\b"]),
        ("a\\\\b", []),
        ("pages/b\\s.txt", ["pages/b\\s.txt"]),
        ("k\\e/*", ["k\\e/f"]),
        ("k\\e*/*", ["ke/g"]),
        ("b\\*", ["b\\*"]),
        ("?/\\f", ["a/f"]),
    ],
)
def test_names_with_wildcard_characters_are_copied(context, src, expected) -> None:
    """What BuildKit copies; but it loses ``a^*``, ``!n*``, blanks at the ends and, from a context, backslashes."""
    assert chosen(context, "/" + src) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**/package.json", ["a/b/c/package.json", "a/package.json", "package.json"]),
        ("a/**/f", ["a/b/c/f", "a/f"]),
        ("**/[[]id].js", ["pages/[id].js"]),
    ],
)
def test_two_stars_in_a_pattern_match_any_depth_and_none(context, pattern, expected) -> None:
    assert chosen(context, "/", include_patterns=(pattern,)) == expected


def test_links_to_their_own_directory_do_not_multiply(tmp_path) -> None:
    """Twelve links under eight wildcards are 12 ** 8 paths."""
    for number in range(12):
        (tmp_path / f"l{number}").symlink_to(".")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x1").write_bytes(b"x")
    assert chosen(tmp_path, "/" + "*/" * 8 + "x1") == []


def test_a_missing_directory_before_the_wildcard_is_missed(context) -> None:
    selection = of_copy(Copy(src="/nope/*", dest="/d/", follow_symlink=True, allow_wildcard=True))
    (root,) = selection.roots(LocalTree(LocalDirectory(context), StatCache(str(context), None)))
    assert (root.chosen, root.picks) == ("nope", ())


def test_a_link_below_a_wildcard_is_followed(tmp_path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_bytes(b"x")
    (tmp_path / "d" / "link").symlink_to("../f")
    assert chosen(tmp_path, "/*/link") == ["f"]


def test_many_stars_do_not_backtrack() -> None:
    """A pattern that matches nothing is tried in time linear in the name for every star."""
    match = component_matcher("x*" * 24 + "..y")
    assert match.fullmatch("x" * 255) is None
    assert match.fullmatch("x" * 250 + "..y")


@pytest.mark.parametrize("src", ["a[", "a[]", "a[b-a]"])
def test_a_malformed_wildcard_is_an_error(context, src) -> None:
    with pytest.raises(SourceError, match="malformed wildcard"):
        chosen(context, src)


@given(st.text(st.sampled_from("ab*?"), max_size=8), st.text(st.sampled_from("abc*?"), max_size=8))
def test_matches_are_those_of_a_shell(component, name) -> None:
    assert bool(component_matcher(component).fullmatch(name)) is fnmatch.fnmatchcase(name, component)


@given(st.text(CHARS, min_size=1, max_size=8), st.text(CHARS, min_size=1, max_size=8))
def test_the_pattern_of_a_literal_matches_it_alone(name, other) -> None:
    matcher = PatternMatcher([whole_pattern([literal_pattern(name)])])
    if name not in (".", ".."):
        assert matcher.matches(name)
        assert matcher.matches(other) is (name == other)


@given(st.text(st.sampled_from("ab*?\\^]!"), min_size=1, max_size=6), st.text(CHARS, min_size=1, max_size=6))
def test_the_pattern_of_a_wildcard_matches_the_same_names(component, name) -> None:
    if os.path.normpath(as_pattern(component)) not in (".", ".."):
        found = PatternMatcher([whole_pattern([as_pattern(component)])]).matches(name)
        assert found is bool(component_matcher(component).fullmatch(name))


def test_a_source_with_a_backslash_is_missed_if_no_file_has_that_name(context) -> None:
    """It is a name, not a pattern that may match nothing."""
    selection = of_copy(Copy(src="/p\\ackage.json", dest="/d/", follow_symlink=True, allow_wildcard=True))
    (root,) = selection.roots(LocalTree(LocalDirectory(context), StatCache(str(context), None)))
    assert (root.chosen, root.picks) == ("p\\ackage.json", ())


def test_a_named_source_is_copied_although_excluded_whatever_its_name(context) -> None:
    assert chosen(context, "/pages/b\\s.txt", exclude_patterns=("*.txt",)) == ["pages/b\\s.txt"]
