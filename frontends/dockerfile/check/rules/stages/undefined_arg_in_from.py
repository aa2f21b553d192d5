# SPDX-License-Identifier: Apache-2.0
"""UndefinedArgInFrom."""

from __future__ import annotations

from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.buildcheck import BuildCheck
from llbkit.frontends.dockerfile.facts import FromVariableUnset
from llbkit.frontends.kit.errors.suggest import did_you_mean
from llbkit.frontends.kit.lint.rule import Example, Finding, hears


class UndefinedArgInFrom(BuildCheck):
    """FROM uses a variable that no ARG before the first FROM declares.

    Why: it expands to nothing.

    Use instead: declare it: ``ARG VERSION=3.20`` before the first FROM.
    """

    name = "UndefinedArgInFrom"
    description = "FROM command must use declared ARGs"
    good = (
        Example(text="ARG V=3.20\nFROM alpine:${V}\n"),
        Example(text="FROM --platform=$BUILDPLATFORM alpine:3.20\n"),
    )
    bad = (
        Example(text="ARG VERSION=3.20\nFROM alpine:«${VERSON:-3.20}»\n"),
        Example(text="FROM --platform=linux/amd64«$ARCH» alpine:3.20 AS amd64\n"),
    )

    @hears(FromVariableUnset)
    def look(self, fact: FromVariableUnset) -> Iterator[Finding]:
        """Look at a variable of a FROM that has no value."""
        if fact.name not in fact.known:
            hint = did_you_mean(fact.name, sorted(fact.known))
            yield Finding(f"FROM argument '{fact.name}' is not declared{hint}", fact.span)
