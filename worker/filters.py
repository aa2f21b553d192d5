# SPDX-License-Identifier: Apache-2.0
"""Include and exclude patterns on a walk: what is taken, and which directories are worth entering."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from grammar.patterns import PatternError, PatternMatcher, WalkState
from worker.base import WorkerError


class FilterState(NamedTuple):
    """What a walk carries from a directory to its entries."""

    included: WalkState | None = None
    excluded: WalkState | None = None


class Verdict(NamedTuple):
    """About one path: whether it is ``taken``; whether, if a directory, something below may be; state below it."""

    taken: bool
    enter: bool
    state: FilterState


START = FilterState()


class Filter:
    """Patterns with the meaning of ``.dockerignore``: ``include`` chooses (nothing: all), ``exclude`` takes away.

    Raises:
        WorkerError: a pattern is malformed.
    """

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self._include, self._exclude = _matcher(include), _matcher(exclude)
        self._chosen = [p.text for p in self._include.patterns if not p.exclusion]
        self._returned = [p.text for p in self._exclude.patterns if p.exclusion]

    def __bool__(self) -> bool:
        return bool(self._include) or bool(self._exclude)

    def judge(self, path: str, parent: FilterState) -> Verdict:
        """Judge ``path`` given the state of its directory. Cost: patterns."""
        taken = enter = True
        included = excluded = None
        if self._include:
            included = self._include.walk(path, parent.included)
            taken = included.ignored
            enter = taken or any(reaches(text, path) for text in self._chosen)
        if self._exclude:
            excluded = self._exclude.walk(path, parent.excluded)
            if excluded.ignored:
                taken = False
                enter = enter and any(reaches(text, path) for text in self._returned)
        return Verdict(taken, enter, FilterState(included, excluded))


def reaches(pattern: str, directory: str) -> bool:
    """Tell whether ``pattern`` may match something below ``directory``; never wrongly says no.

    Paths below that match only through ``directory`` itself are not meant.
    """
    if "**" in pattern or "[" in pattern or "\\" in pattern:
        head = pattern[: min(i for i in map(pattern.find, ("**", "[", "\\")) if i >= 0)].rpartition("/")[0]
        return not head or _compatible(head.split("/"), directory.split("/"))
    parts, names = pattern.split("/"), directory.split("/")
    return len(parts) > len(names) and _compatible(parts, names)


def _compatible(parts: Iterable[str], names: Iterable[str]) -> bool:
    pairs = zip(parts, names, strict=False)
    return all("*" in part or "?" in part or "^" in part or part == name for part, name in pairs)


def _matcher(patterns: Sequence[str]) -> PatternMatcher:
    try:
        return PatternMatcher(patterns)
    except PatternError as error:
        raise WorkerError(
            f"bad pattern in {', '.join(patterns)}: {error}", help="correct the pattern"
        ) from error
