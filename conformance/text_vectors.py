# SPDX-License-Identifier: Apache-2.0
"""Run the text parts of the reference vectors: ``ast``, ``shell`` and ``dockerignore``.

Each runner takes the decoded cases of one file and returns the differences, one readable line or block each;
an empty list means that all cases agree.
"""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any

from frontends.dockerfile.ignore import read_patterns
from grammar import DiagnosticError, Source
from grammar.patterns import PatternError, PatternMatcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Case = dict[str, Any]


def run_file(path: Path) -> list[str]:
    """Run one vector file, named ``<part>.*.json``, and return its differences.

    Raises:
        KeyError: The part is not one of the text parts.
    """
    return RUNNERS[path.name.partition(".")[0]](json.loads(path.read_text("utf-8")))


def run_dockerignore(cases: Iterable[Case]) -> list[str]:
    """Check reading, compiling and both ways of matching."""
    return [
        line for case in cases for line in _compare(case["name"], _ignore_outcome(case), case, _IGNORE_KEYS)
    ]


_IGNORE_KEYS = ("read_error", "read_patterns", "error", "has_exclusions", "compiled_patterns", "results")


def _ignore_outcome(case: Case) -> Case:
    outcome: Case = {}
    patterns = case.get("patterns", [])
    try:
        if "dockerignore" in case:
            patterns = outcome["read_patterns"] = read_patterns(case["dockerignore"])
    except PatternError as error:
        return {"read_error": str(error)}
    try:
        matcher = PatternMatcher(patterns)
    except PatternError as error:
        return outcome | {"error": str(error)}
    return outcome | {
        "has_exclusions": matcher.has_exclusions,
        "compiled_patterns": [str(pattern) for pattern in matcher.patterns],
        "results": [_ignore_result(matcher, path) for path in case.get("paths", [])],
    }


def _ignore_result(matcher: PatternMatcher, path: str) -> Case:
    result: Case = {"path": path}
    try:
        result["ignored"] = matcher.matches_or_parent(path)
    except PatternError as error:
        return result | {"error": str(error)}
    try:
        result["walk_ignored"] = _walk(matcher, path)
    except PatternError as error:
        result["walk_error"] = str(error)
    return result


def _walk(matcher: PatternMatcher, path: str) -> bool:
    """Ask as a walk from the root down to ``path`` does."""
    state = None
    walked = ""
    for part in [part for part in path.split("/") if part not in ("", ".")] or ["."]:
        walked = f"{walked}/{part}" if walked else part
        state = matcher.walk(walked, state)
    return state is not None and state.ignored


def _compare(name: str, actual: Case, expected: Case, keys: Iterable[str]) -> Iterator[str]:
    for key in keys:
        if actual.get(key) != expected.get(key):
            yield f"{name}: {key}\n{_difference(expected.get(key), actual.get(key))}"


def _difference(expected: object, actual: object) -> str:
    left, right = (
        json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True, default=str).splitlines()
        for value in (expected, actual)
    )
    return "\n".join(difflib.unified_diff(left, right, "expected", "actual", lineterm="", n=2))


RUNNERS = {"dockerignore": run_dockerignore}
