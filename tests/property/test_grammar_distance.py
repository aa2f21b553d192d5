# SPDX-License-Identifier: Apache-2.0
"""An edit distance with a limit is the plain one where it does not exceed the limit, and costs no more than the limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llbkit.grammar import edit_distance

WORDS = st.text("abc", max_size=9)


def plain(left: str, right: str) -> int:
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


@given(WORDS, WORDS, st.integers(0, 5))
def test_with_and_without_a_limit(left: str, right: str, limit: int) -> None:
    expected = plain(left, right)
    assert edit_distance(left, right) == expected
    found = edit_distance(left, right, limit=limit)
    assert found == expected if expected <= limit else found > limit


def test_words_of_a_million_characters() -> None:
    word = "a" * 1_000_000
    assert edit_distance(word, word + "bc", limit=2) == 2
    assert edit_distance("x" + word + "y", "z" + word, limit=2) == 2
