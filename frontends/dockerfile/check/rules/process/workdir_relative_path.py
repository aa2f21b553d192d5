# SPDX-License-Identifier: Apache-2.0
"""WorkdirRelativePath."""

from __future__ import annotations

from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.buildcheck import BuildCheck
from llbkit.frontends.dockerfile.facts import WorkdirEntered
from llbkit.frontends.dockerfile.syntax.words import where
from llbkit.frontends.kit.golang.quote import go_quote
from llbkit.frontends.kit.lint.rule import Example, Finding, hears


class WorkdirRelativePath(BuildCheck):
    """The first WORKDIR of a stage is relative.

    Why: it depends on the base image's working directory, which may change.

    Use instead: ``WORKDIR /app``.
    """

    name = "WorkdirRelativePath"
    description = "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes"
    good = (Example(text="FROM alpine:3.20\nWORKDIR /a\nWORKDIR b\n"),)
    bad = (Example(text="FROM alpine:3.20\nWORKDIR «a»\nWORKDIR b\n"),)

    @hears(WorkdirEntered)
    def look(self, fact: WorkdirEntered) -> Iterator[Finding]:
        """Look at the first WORKDIR of a stage chain, after expansion."""
        if fact.first and not fact.absolute:
            message = f"Relative workdir {go_quote(fact.path)} can have unexpected results if the base image changes"
            yield Finding(message, where(fact.instruction.path))
