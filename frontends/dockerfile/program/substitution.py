# SPDX-License-Identifier: Apache-2.0
r"""``${X#pattern}``, ``${X%pattern}`` and ``${X/pattern/replacement}``: shell patterns on values.

``*`` and ``?`` are wildcards that do not cross a line end, a backslash may stand before them, itself, ``/`` and
``}`` and nothing else. There are no bracket expressions.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache

from llbkit.grammar.automaton import Automaton, Item
from llbkit.records import dataclass


class SubstitutionError(Exception):
    """A pattern is malformed."""


LONGEST = 1 << 21
"""The longest value that a substitution may make."""

_MOST_WORK = 1 << 32
_SHORT = 16


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A pattern as a regular expression for each direction of greed; with wildcards, as an automaton."""

    greedy: re.Pattern[str]
    lazy: re.Pattern[str]
    automaton: Automaton | None

    def start(self, value: str, longest: bool) -> int | None:
        """Return the end of the longest or shortest match at the start of a value; None if there is none."""
        if self.automaton is None:
            match = (self.greedy if longest else self.lazy).match(value)
            return match.end() if match else None
        ends = self.automaton.ends(value)
        return _last(ends) if longest else next(ends, None)

    def finder(self, value: str) -> Callable[[int], tuple[int, int] | None]:
        """Return a function that finds the first longest match from an offset on."""
        if self.automaton is None:
            return lambda at: found.span() if (found := self.greedy.search(value, at)) else None
        automaton = self.automaton
        starts = [len(value) - end for end in automaton.reversed().all_ends(value[::-1])][::-1]

        def find(at: int) -> tuple[int, int] | None:
            number = bisect_left(starts, at)
            if number == len(starts):
                return None
            end = _last(automaton.ends(value, starts[number]))
            assert end is not None, "matches start here"
            return starts[number], end

        return find


def _last(ends: Iterator[int]) -> int | None:
    last = deque(ends, maxlen=1)
    return last[0] if last else None


@lru_cache(maxsize=256)
def _compile(pattern: str) -> _Pattern:
    tests: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "\\":
            char = pattern[at : at + 1]
            at += 1
            if not char or char not in r"*?\/}":
                shown = char or "\N{REPLACEMENT CHARACTER}"
                raise SubstitutionError(
                    f"invalid pattern ({pattern}) in substitution: invalid escape '\\{shown}'"
                )
            tests.append(re.escape(char))
        elif char != "*":
            tests.append("." if char == "?" else re.escape(char))
        elif tests[-1:] != [".*"]:
            tests.append(".*")
    text = "".join(tests)
    automaton = None
    if ".*" in tests or ("." in tests and len(tests) > _SHORT):
        automaton = Automaton([Item(re.compile(test[:2].removesuffix("*")), test == ".*") for test in tests])
    return _Pattern(re.compile(text), re.compile(text.replace(".*", ".*?")), automaton)


def _compiled(pattern: str, value: str) -> _Pattern:
    if len(pattern) * len(value) > _MOST_WORK:
        raise SubstitutionError(
            f"pattern of {len(pattern)} characters is too long for a value of {len(value)}"
        )
    return _compile(pattern)


def trim(value: str, pattern: str, suffix: bool, longest: bool) -> str:
    """Remove the shortest or longest match of ``pattern`` from the start, or the end, of ``value``.

    Cost: linear in the value.

    Raises:
        SubstitutionError: The pattern has a wrong escape, or both are huge.
    """
    if suffix:
        return trim(value[::-1], _reverse(pattern), False, longest)[::-1]
    end = _compiled(pattern, value).start(value, longest)
    return value if end is None else value[end:]


_PATTERN_ITEM = re.compile(r"\\.|.", re.DOTALL)


def _reverse(pattern: str) -> str:
    """Return the pattern that matches reversed texts; escapes stay in front of what they escape."""
    return "".join(reversed(_PATTERN_ITEM.findall(pattern)))


def substitute(value: str, pattern: str, replacement: str, every: bool) -> str:
    """Replace the first match of ``pattern`` by ``replacement`` as it is, or every match by it as a template.

    As in BuildKit, the template of the second form is Go's: ``$name`` is an empty group, ``$0`` the match, ``$$``
    a dollar.

    Raises:
        SubstitutionError: The pattern has a wrong escape, or both are huge, or the result would be.
    """
    find = _compiled(pattern, value).finder(value)
    if every:
        return _replace_all(find, value, replacement)
    match = find(0)
    return value[: match[0]] + replacement + value[match[1] :] if match else value


def _replace_all(find: Callable[[int], tuple[int, int] | None], value: str, template: str) -> str:
    """Replace as Go does: an empty match right after the last match does not count."""
    out: list[str] = []
    parts = _parts(template)
    last = search = length = 0
    while search <= len(value) and (match := find(search)):
        start, end = match
        out.append(value[last:start])
        if end > last or start == 0:
            out.append("".join(value[start:end] if part is None else part for part in parts))
            length += len(out[-1])
            if length > LONGEST:
                raise SubstitutionError(f"the result of a substitution is longer than {LONGEST} characters")
        last = end
        search = end if end > start else end + 1
    return "".join((*out, value[last:]))


_GROUP = re.compile(r"\$(?:(\$)|\{(\w+)\}|(\w+))")


def _parts(template: str) -> list[str | None]:
    """Return the texts of a template; None stands for the match."""
    out: list[str | None] = []
    last = 0
    for found in _GROUP.finditer(template):
        out.append(template[last : found.start()])
        if found[1]:
            out.append("$")
        elif (found[2] or found[3]) == "0":
            out.append(None)
        last = found.end()
    out.append(template[last:])
    return [part for part in out if part != ""]
