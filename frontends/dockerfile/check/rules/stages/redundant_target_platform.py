# SPDX-License-Identifier: Apache-2.0
"""RedundantTargetPlatform."""

from __future__ import annotations

from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.buildcheck import BuildCheck
from llbkit.frontends.dockerfile.facts import PlatformExpanded
from llbkit.frontends.kit.lint.rule import Example, Finding, hears
from llbkit.grammar import Edit, Fix

_NAME = "TARGETPLATFORM"


class RedundantTargetPlatform(BuildCheck):
    """``FROM --platform=$TARGETPLATFORM``.

    Why: that is the default.

    Use instead: no flag.
    """

    name = "RedundantTargetPlatform"
    description = (
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior"
    )
    good = (
        Example(text="FROM --platform=$BUILDPLATFORM alpine:3.20\n"),
        Example(text="FROM --platform=${TARGETPLATFORM}x alpine:3.20 AS x\n"),
    )
    bad = (
        Example(text="FROM «--platform=$TARGETPLATFORM» alpine:3.20\n", fixed="FROM alpine:3.20\n"),
        Example(
            text="FROM «--platform=${TARGETPLATFORM}»  \\\n  alpine:3.20\n", fixed="FROM \\\n  alpine:3.20\n"
        ),
    )

    @hears(PlatformExpanded)
    def look(self, fact: PlatformExpanded) -> Iterator[Finding]:
        """Look at an expanded ``--platform``."""
        word, stage = fact.expansion, fact.instruction
        if word.matched != {_NAME} or word.unmatched or word.text != fact.values.get(_NAME):
            return
        message = f"Setting platform to predefined {stage.platform} in FROM is redundant as this is the default behavior"
        flag = stage.flags.word("platform")
        if flag is None:
            yield Finding(message)
            return
        text, end = flag.span.source.text, flag.span.end
        while text[end : end + 1] in (" ", "\t"):
            end += 1
        edit = Edit(flag.span.source.span(flag.span.start, end), "")
        yield Finding(message, flag.span, (Fix(title="Remove the flag", edits=(edit,)),))
