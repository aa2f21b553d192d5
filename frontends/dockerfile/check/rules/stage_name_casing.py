# SPDX-License-Identifier: Apache-2.0
"""StageNameCasing: a stage name is not in lower case.

Why: stage names are compared without case, so a capital letter only looks as if it told stages apart.

Use instead: ``FROM image AS builder``.
"""

from __future__ import annotations

from collections.abc import Sequence

from llbkit.frontends.dockerfile.check.check import Linter, Rule
from llbkit.frontends.kit.errors.places import Place

RULE = Rule(
    name="StageNameCasing",
    description="Stage names should be lowercase",
)
VALID = ("FROM alpine:3.20 AS builder\n", "FROM alpine:3.20\n")
INVALID = ("FROM alpine:3.20 AS Builder\n",)


def check(lint: Linter, words: Sequence[str], place: Place) -> None:
    """Look at the words of a FROM."""
    if len(words) == 3 and words[2] != words[2].lower():
        lint.report(RULE, place, f"Stage name '{words[2]}' should be lowercase")
