# SPDX-License-Identifier: Apache-2.0
"""Include and exclude patterns on a walk: which files are selected, and which directories need to be entered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from llbkit.grammar.patterns.match import PatternError, PatternMatcher, WalkState
from llbkit.worker.base import WorkerError
from llbkit.worker.fs.rootpath import PATH_MAX


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
        self._chosen = Reach([p.text for p in self._include.patterns if not p.exclusion])
        self._returned = Reach([p.text for p in self._exclude.patterns if p.exclusion])

    def __bool__(self) -> bool:
        return bool(self._include) or bool(self._exclude)

    def judge(self, path: str, parent: FilterState, *, is_dir: bool = True) -> Verdict:
        """Judge ``path`` given the state of its directory; without ``is_dir``, ``enter`` means nothing."""
        taken = enter = True
        included = excluded = None
        if self._include:
            included = self._include.walk(path, parent.included)
            taken = included.ignored
            enter = taken or (is_dir and self._chosen.reaches(path))
        if self._exclude:
            excluded = self._exclude.walk(path, parent.excluded)
            if excluded.ignored:
                taken = False
                enter = enter and is_dir and self._returned.reaches(path)
        return Verdict(taken, enter, FilterState(included, excluded))


class Reach:
    """Which directories some of many patterns may match something below of.

    Patterns are found by the directories that they name up to their first wildcard, so that few are tried.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._above: set[str] = set()
        self._below: dict[str, list[str]] = {}
        for pattern in dict.fromkeys(patterns):
            literal = _literal_directory(pattern)
            if len(literal) >= PATH_MAX:
                continue  # there is no such directory
            self._below.setdefault(literal, []).append(pattern)
            while literal and literal not in self._above:
                self._above.add(literal)
                literal = literal.rpartition("/")[0]

    def reaches(self, directory: str) -> bool:
        """Return whether one of the patterns may match something below ``directory``, as `reaches` says."""
        if directory in self._above:
            return True
        literal = directory
        while True:
            if any(reaches(pattern, directory) for pattern in self._below.get(literal, ())):
                return True
            if not literal:
                return False
            literal = literal.rpartition("/")[0]


def _literal_directory(pattern: str) -> str:
    """Return the directory of a pattern, as far as it holds no wildcard."""
    special = [at for at in map(pattern.find, "*?[^\\") if at >= 0]
    return pattern[: min(special, default=len(pattern))].rpartition("/")[0]


def reaches(pattern: str, directory: str) -> bool:
    """Return whether ``pattern`` may match something below ``directory``; never wrongly says no.

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
