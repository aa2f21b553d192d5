# SPDX-License-Identifier: Apache-2.0
"""FromAsCasing: FROM and its AS are not written in the same case.

Why: mixed case in one instruction is a slip that distracts readers.

Use instead: ``FROM image AS name`` or ``from image as name``.
"""

from __future__ import annotations

from collections.abc import Sequence

from llbkit.frontends.dockerfile.check.check import Linter, Rule
from llbkit.frontends.kit.errors.places import Place

RULE = Rule(
    name="FromAsCasing",
    description="The 'as' keyword should match the case of the 'from' keyword",
)
VALID = ("FROM alpine:3.20 AS a\n", "from alpine:3.20 as a\n")
INVALID = ("FROM alpine:3.20 as a\n", "from alpine:3.20 AS a\n")


def check(lint: Linter, keyword: str, words: Sequence[str], place: Place) -> None:
    """Look at the words of a FROM; a keyword in mixed case is ConsistentInstructionCasing's business."""
    if len(words) < 3:
        return
    word = words[1]
    if (keyword == keyword.lower() and word != word.lower()) or (
        keyword == keyword.upper() and word != word.upper()
    ):
        lint.report(RULE, place, f"'{word}' and '{keyword}' keywords' casing do not match")
