# SPDX-License-Identifier: Apache-2.0
"""ReservedStageName."""

from __future__ import annotations

from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.buildcheck import BuildCheck
from llbkit.frontends.dockerfile.facts import StageNamed
from llbkit.frontends.kit.lint.rule import Example, Finding, hears

_RESERVED = frozenset({"context", "scratch"})


class ReservedStageName(BuildCheck):
    """A stage is called ``context`` or ``scratch``.

    Why: these words mean the build context and the empty image.

    Use instead: any other name.
    """

    name = "ReservedStageName"
    description = "Reserved words should not be used as stage names"
    heeds_comments = False
    good = (Example(text="FROM alpine:3.20 AS scratchpad\n"),)
    bad = (
        Example(text="FROM alpine:3.20 AS «scratch»\n"),
        Example(text="FROM alpine:3.20 AS «context»\n"),
    )

    @hears(StageNamed)
    def look(self, fact: StageNamed) -> Iterator[Finding]:
        """Look at a stage's name."""
        name = fact.instruction.name
        if name in _RESERVED:
            message = f'Stage name should not use the same name as reserved stage "{name}"'
            yield Finding(message, fact.instruction.name_span)
