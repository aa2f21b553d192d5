# SPDX-License-Identifier: Apache-2.0
"""FromPlatformFlagConstDisallowed."""

from __future__ import annotations

from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.buildcheck import BuildCheck
from llbkit.frontends.dockerfile.facts import PlatformExpanded
from llbkit.frontends.dockerfile.syntax.words import where
from llbkit.frontends.kit import platforms
from llbkit.frontends.kit.lint.rule import Example, Finding, hears


class FromPlatformFlagConstDisallowed(BuildCheck):
    """``FROM --platform`` is a constant, and the stage name does not say so.

    Why: the stage is then of that platform whatever the build is for.

    Use instead: ``--platform=$BUILDPLATFORM``, or a stage name with the platform in it.
    """

    name = "FromPlatformFlagConstDisallowed"
    description = "FROM --platform flag should not use a constant value"
    good = (
        Example(text="FROM --platform=$BUILDPLATFORM alpine:3.20\n"),
        Example(text="FROM --platform=linux/arm64 alpine:3.20 AS build_arm64\n"),
    )
    bad = (Example(text="FROM --platform=«linux/arm64» alpine:3.20\n"),)

    @hears(PlatformExpanded)
    def look(self, fact: PlatformExpanded) -> Iterator[Finding]:
        """Look at an expanded ``--platform``."""
        word, stage = fact.expansion, fact.instruction
        if word.matched or word.unmatched:
            return
        try:
            found = platforms.parse(word.text)
        except platforms.SpecifierError:
            return
        if found.os not in stage.name and found.architecture not in stage.name:
            message = f'FROM --platform flag should not use constant value "{word.text}"'
            yield Finding(message, where(stage.platform))
