# SPDX-License-Identifier: Apache-2.0
"""StageNameCasing."""

from __future__ import annotations

from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.buildcheck import BuildCheck
from llbkit.frontends.dockerfile.facts import InstructionSeen
from llbkit.frontends.kit.lint.rule import Example, Finding, hears
from llbkit.grammar import Edit, Fix


class StageNameCasing(BuildCheck):
    """A stage name is not in lower case.

    Why: stage names are compared without case, so a capital letter only looks as if it told stages apart.

    Use instead: ``FROM image AS builder``.
    """

    name = "StageNameCasing"
    description = "Stage names should be lowercase"
    good = (Example(text="FROM alpine:3.20 AS builder\n"), Example(text="FROM alpine:3.20\n"))
    bad = (
        Example(text="FROM alpine:3.20 AS «Builder»\n", fixed="FROM alpine:3.20 AS builder\n"),
        Example(
            text="FROM alpine:3.20 AS «Base»\nFROM scratch\nCOPY --from=Base a b\n",
            fixed="FROM alpine:3.20 AS base\nFROM scratch\nCOPY --from=Base a b\n",
        ),
    )

    @hears(InstructionSeen, "from")
    def look(self, fact: InstructionSeen) -> Iterator[Finding]:
        """Look at the words of a FROM."""
        words = fact.node.words
        if len(words) == 3 and words[2] != words[2].lower():
            # COPY and mounts find a stage in any case.
            fix = Fix(title="Write the name in lower case", edits=(Edit(words[2].span, words[2].lower()),))
            yield Finding(f"Stage name '{words[2]}' should be lowercase", words[2].span, (fix,))
