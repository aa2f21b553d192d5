# SPDX-License-Identifier: Apache-2.0
"""The report of a vector run, with readable differences."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llbkit.records import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """A case whose outcome differs: its name and the difference as text."""

    name: str
    difference: str


def run_each(
    cases: Sequence[Mapping[str, Any]], run_case: Callable[[Mapping[str, Any]], str]
) -> list[Failure]:
    """Run cases one by one and return those that differ. A defect in one is its outcome and hides no others."""
    failures = []
    for case in cases:
        try:
            text = run_case(case)
        except Exception as error:
            text = f"defect: {type(error).__name__}: {error}"
        if text:
            failures.append(Failure(str(case["name"]), text))
    return failures


def difference(expected: object, actual: object, *, limit: int = 60) -> str:
    """Return a unified diff of two JSON-like values (or texts), at most ``limit`` lines; "" if they are equal."""
    if expected == actual:
        return ""
    lines = list(
        difflib.unified_diff(_lines(expected), _lines(actual), "expected", "actual", lineterm="", n=2)
    )
    if len(lines) > limit:
        lines = [*lines[:limit], f"... {len(lines) - limit} more lines"]
    return "\n".join(lines)


def _lines(value: object) -> list[str]:
    if isinstance(value, str):
        return value.split("\n")
    return json.dumps(value, indent=1, sort_keys=True, default=str, ensure_ascii=False).split("\n")
