# SPDX-License-Identifier: Apache-2.0
"""RedundantTargetPlatform: ``FROM --platform=$TARGETPLATFORM``.

Why: that is the default.

Use instead: no flag.
"""

from __future__ import annotations

from collections.abc import Mapping

from llbkit.frontends.dockerfile.check.check import Linter, Rule
from llbkit.frontends.dockerfile.program.words import Expansion
from llbkit.frontends.kit.errors.places import Place

RULE = Rule(
    name="RedundantTargetPlatform",
    description="Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
)
VALID = ("FROM --platform=$BUILDPLATFORM alpine:3.20\n",)
INVALID = ("FROM --platform=$TARGETPLATFORM alpine:3.20\n",)


_NAME = "TARGETPLATFORM"


def check(lint: Linter, written: str, word: Expansion, env: Mapping[str, str], place: Place) -> None:
    """Look at an expanded ``--platform``."""
    if word.matched == {_NAME} and not word.unmatched and word.text == env.get(_NAME):
        message = (
            f"Setting platform to predefined {written} in FROM is redundant as this is the default behavior"
        )
        lint.report(RULE, place, message)
