# SPDX-License-Identifier: Apache-2.0
"""DuplicateStageName: two stages have the same name.

Why: later instructions can only mean the last one.

Use instead: a name of its own for each stage.
"""

from __future__ import annotations

from collections.abc import Collection

from llbkit.frontends.dockerfile.check.check import Linter, Rule
from llbkit.frontends.kit.errors.places import Place

RULE = Rule(
    name="DuplicateStageName",
    description="Stage names should be unique",
)
VALID = ("FROM alpine:3.20 AS a\nFROM a AS b\n",)
INVALID = ("FROM alpine:3.20 AS a\nFROM alpine:3.20 AS A\n",)


def check(lint: Linter, name: str, earlier: Collection[str], place: Place) -> None:
    """Look at a stage's name ("" for none) and those of the stages before it."""
    if name and name in earlier:
        lint.report(RULE, place, f'Duplicate stage name "{name}", stage names should be unique')
