# SPDX-License-Identifier: Apache-2.0
"""NoEmptyContinuation: an empty line stands inside a continued instruction.

Why: the empty line looks like the end of the instruction, but is not.

Use instead: remove the line, or put a comment there.
"""

from __future__ import annotations

from collections.abc import Sequence

from llbkit.frontends.dockerfile.check.check import Linter, Rule
from llbkit.frontends.dockerfile.syntax.ast import ParseWarning
from llbkit.frontends.kit.errors.places import Place

RULE = Rule(
    name="NoEmptyContinuation",
    description="Empty continuation lines will become errors in a future release",
)
VALID = (
    "FROM alpine:3.20\nRUN a && \\\n  b\n",
    "FROM alpine:3.20\nRUN a && \\\n# why\n  b\n",
)
INVALID = ("FROM alpine:3.20\nRUN a && \\\n\n  b\n",)


def check(lint: Linter, warnings: Sequence[ParseWarning]) -> None:
    """Pass on what the parser found."""
    for warning in warnings:
        if warning.url == RULE.url:
            lint.report(
                RULE,
                Place.of_lines(warning.span, *warning.lines),
                "Empty continuation line",
            )
