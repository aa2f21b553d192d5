# SPDX-License-Identifier: Apache-2.0
"""ReservedStageName: a stage is called ``context`` or ``scratch``.

Why: these words mean the build context and the empty image.

Use instead: any other name.
"""

from __future__ import annotations

from llbkit.frontends.dockerfile.check.check import Linter, Rule
from llbkit.frontends.kit.errors.places import Place

RULE = Rule(
    name="ReservedStageName",
    description="Reserved words should not be used as stage names",
)
VALID = ("FROM alpine:3.20 AS scratchpad\n",)
INVALID = ("FROM alpine:3.20 AS scratch\n", "FROM alpine:3.20 AS context\n")


_RESERVED = frozenset({"context", "scratch"})


def check(lint: Linter, name: str, place: Place) -> None:
    """Look at a stage's name."""
    if name in _RESERVED:
        lint.report(
            RULE,
            place,
            f'Stage name should not use the same name as reserved stage "{name}"',
        )
