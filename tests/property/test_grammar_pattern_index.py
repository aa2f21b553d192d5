# SPDX-License-Identifier: Apache-2.0
"""Many patterns give the answers that they give one by one, and in time that does not grow with their number."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from llbkit.grammar.patterns import match as patterns
from llbkit.grammar.patterns.index import PatternIndex
from llbkit.grammar.patterns.match import PatternError, PatternMatcher, WalkState
from llbkit.worker.fs.select.filters import Reach, reaches

pieces = st.sampled_from(
    [
        "a",
        "b",
        "ab",
        "abc",
        "a.b",
        "*",
        "**",
        "?",
        "/",
        "/",
        "[ab]",
        "[^a]",
        r"\a",
        r"\*",
        r"\d",
        "^",
        "]",
        "é",
        " x",
    ]
)
texts = st.lists(pieces, min_size=1, max_size=6).map("".join)
lines = st.tuples(st.sampled_from(["", "", "!"]), texts).map("".join)
paths = st.lists(
    st.lists(st.sampled_from(["a", "b", "ab", "abc", "a.b", "*", "d", "1", "é", "x", "^", "]"]), min_size=1, max_size=3).map("".join),
    min_size=1,
    max_size=4,
).map("/".join)  # fmt: skip


def usable(line: str) -> bool:
    try:
        PatternMatcher([line])
    except PatternError:
        return False
    return True


def answers(matcher: PatternMatcher, path: str) -> list[object]:
    """Return every answer about a path and the directories above it, or the error in its place."""
    found: list[object] = []
    for ask in (matcher.matches, matcher.matches_or_parent, matcher.walk):
        try:
            found.append(ask(path))
        except PatternError as error:
            found.append(str(error))
    state: WalkState | None = None
    with contextlib.suppress(PatternError):
        for end in (at for at in range(1, len(path) + 1) if path[at : at + 1] in ("/", "")):
            state = matcher.walk(path[:end], state)
            found.append(state)
    return found


@settings(deadline=None, max_examples=300)
@given(given_lines=st.lists(lines.filter(usable), max_size=40), some=st.lists(paths, min_size=1, max_size=5))
def test_an_index_changes_no_answer(given_lines, some) -> None:
    plain = PatternMatcher(given_lines)
    plain._index = None
    indexed = PatternMatcher(given_lines)
    refusing = [place for place, pattern in enumerate(indexed.patterns) if pattern.match is patterns._refuse]
    indexed._index = PatternIndex([pattern.text for pattern in indexed.patterns], refusing)
    for path in some:
        assert answers(indexed, path) == answers(plain, path)


def asked(matcher: PatternMatcher, some: list[str]) -> int:
    """Count the patterns that are tried."""
    assert matcher._index is not None
    return sum(len(matcher._index.candidates(path)) for path in some)


def test_of_ten_thousand_patterns_few_are_tried() -> None:
    some = [f"src/module{n % 97}/file{n}.py" for n in range(3000)]
    for form in (
        "build/out{}",
        "**/cache{}",
        "*.log{}",
        "**/dir{}/*",
        "a{}*b?c",
        "!keep{}/**",
        "**/*.{}x*",
        "p{}/**/q",
    ):
        matcher = PatternMatcher([form.format(n) for n in range(10_000)])
        assert asked(matcher, some) < 30 * len(some), form


@settings(deadline=None, max_examples=300)
@given(given_lines=st.lists(texts, max_size=12), directory=paths)
def test_what_many_patterns_reach_is_what_one_of_them_reaches(given_lines, directory) -> None:
    expected = any(reaches(line, directory) for line in given_lines)
    assert Reach(given_lines).reaches(directory) is expected
