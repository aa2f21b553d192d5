# SPDX-License-Identifier: Apache-2.0
"""What follows all positions at once answers as Python's backtracking expressions do, where those are quick enough."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llbkit.frontends.dockerfile.program.substitution import SubstitutionError, substitute, trim
from llbkit.grammar.automaton import Automaton, Item
from llbkit.grammar.patterns import match as patterns
from llbkit.grammar.patterns.goregex import GoRegexError, compile_go

TEXTS = st.text("ab/\n.", max_size=12)
PARTS = ["**/", "**", "*", "?", "a", "b", "/", "[ab]", "[^a]", "\\d", "\\b", "\\*", "^", "\\z", "a*", "\\Qb"]


@example("**/?", "aa")
@given(st.lists(st.sampled_from(PARTS), max_size=7).map("".join), TEXTS)
def test_paths(pattern: str, path: str) -> None:
    expression = ["^"]
    for token in patterns._TOKEN.finditer(pattern):
        double, star, question, special, escaped, bracket, plain = token.groups()
        if double:
            expression.append("(.*/)?" if token.end() < len(pattern) else ".*")
        elif star or question:
            expression.append("[^/]*" if star else "[^/]")
        elif escaped or bracket:
            expression.append(f"\\{escaped}" if escaped else bracket)
        else:
            expression.append(f"\\{special}" if special else plain)
    text = "".join((*expression, "$"))
    try:
        regex = compile_go(text)
    except GoRegexError:
        return
    assert patterns._automaton(text).fullmatch(path) == (regex.search(path) is not None)


@given(st.text("ab*?\n", max_size=6), TEXTS, st.booleans(), st.booleans())
def test_trimming(pattern: str, value: str, suffix: bool, longest: bool) -> None:
    star = ".*" if longest else ".*?"
    regex = re.compile("".join({"*": star, "?": "."}.get(char) or re.escape(char) for char in pattern))
    if suffix:
        ends = [at for at in range(len(value) + 1) if regex.fullmatch(value, at)]
        expected = value[: (min(ends) if longest else max(ends))] if ends else value
    else:
        match = regex.match(value)
        expected = value[match.end() :] if match else value
    assert trim(value, pattern, suffix, longest) == expected


@given(st.text("ab*?\n", min_size=1, max_size=6), TEXTS)
def test_substituting(pattern: str, value: str) -> None:
    regex = re.compile("".join({"*": ".*", "?": "."}.get(char) or re.escape(char) for char in pattern))
    assert substitute(value, pattern, "<x>", False) == regex.sub("<x>", value, count=1)


def test_the_number_of_steps_is_linear() -> None:
    tests: list[int] = []

    class Counting(Automaton):
        def _after(self, states: int, char: str, following: str) -> int:
            tests.append(1)
            return super()._after(states, char, following)

    letter, star = Item(re.compile("a")), Item(re.compile("."), repeats=True)
    assert not Counting([*[star, letter] * 20, Item(re.compile("b"))]).fullmatch("a" * 1000)
    assert len(tests) == 1000


def test_a_result_has_a_limit() -> None:
    with pytest.raises(SubstitutionError, match="longer"):
        substitute("a" * 3000, "a", "b" * 3000, True)
