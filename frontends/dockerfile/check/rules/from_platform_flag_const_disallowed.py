# SPDX-License-Identifier: Apache-2.0
"""FromPlatformFlagConstDisallowed: ``FROM --platform`` is a constant, and the stage name does not say so.

Why: the stage is then of that platform whatever the build is for.

Use instead: ``--platform=$BUILDPLATFORM``, or a stage name with the platform in it.
"""

from __future__ import annotations

from llbkit.frontends.dockerfile.check.check import Linter, Rule
from llbkit.frontends.dockerfile.program.words import Expansion
from llbkit.frontends.kit import platforms
from llbkit.frontends.kit.errors.places import Place

RULE = Rule(
    name="FromPlatformFlagConstDisallowed",
    description="FROM --platform flag should not use a constant value",
)
VALID = (
    "FROM --platform=$BUILDPLATFORM alpine:3.20\n",
    "FROM --platform=linux/arm64 alpine:3.20 AS build_arm64\n",
)
INVALID = ("FROM --platform=linux/arm64 alpine:3.20\n",)


def check(lint: Linter, stage: str, word: Expansion, place: Place) -> None:
    """Look at an expanded ``--platform``."""
    if word.matched or word.unmatched:
        return
    try:
        found = platforms.parse(word.text)
    except platforms.SpecifierError:
        return
    if found.os in stage or found.architecture in stage:
        return
    lint.report(RULE, place, f'FROM --platform flag should not use constant value "{word.text}"')
