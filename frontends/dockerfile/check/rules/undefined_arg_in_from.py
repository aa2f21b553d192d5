# SPDX-License-Identifier: Apache-2.0
"""UndefinedArgInFrom: FROM uses a variable that no ARG before the first FROM declares.

Why: it expands to nothing.

Use instead: declare it: ``ARG VERSION=3.20`` before the first FROM.
"""

from __future__ import annotations

from collections.abc import Collection

from llbkit.frontends.dockerfile.check.check import Linter, Rule
from llbkit.frontends.kit.errors.places import Place
from llbkit.frontends.kit.errors.suggest import did_you_mean

RULE = Rule(
    name="UndefinedArgInFrom",
    description="FROM command must use declared ARGs",
)
VALID = (
    "ARG V=3.20\nFROM alpine:${V}\n",
    "FROM --platform=$BUILDPLATFORM alpine:3.20\n",
)
INVALID = ("ARG VERSION=3.20\nFROM alpine:${VERSON:-3.20}\n",)


def check(lint: Linter, unmatched: Collection[str], declared: Collection[str], place: Place) -> None:
    """Look at the variables of a FROM that have no value."""
    for name in sorted(unmatched):
        if name not in declared:
            hint = did_you_mean(name, sorted(declared))
            lint.report(RULE, place, f"FROM argument '{name}' is not declared{hint}")
