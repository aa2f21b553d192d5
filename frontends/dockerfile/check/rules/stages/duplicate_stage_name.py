# SPDX-License-Identifier: Apache-2.0
"""DuplicateStageName."""

from __future__ import annotations

from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.buildcheck import BuildCheck
from llbkit.frontends.dockerfile.facts import StageNamed
from llbkit.frontends.kit.lint.rule import Example, Finding, hears


class DuplicateStageName(BuildCheck):
    """Two stages have the same name.

    Why: later instructions can only mean the last one.

    Use instead: a name of its own for each stage.
    """

    name = "DuplicateStageName"
    description = "Stage names should be unique"
    heeds_comments = False
    good = (Example(text="FROM alpine:3.20 AS a\nFROM a AS b\n"),)
    bad = (Example(text="FROM alpine:3.20 AS a\nFROM alpine:3.20 AS «A»\n"),)

    def __init__(self) -> None:
        self._names: set[str] = set()

    @hears(StageNamed)
    def look(self, fact: StageNamed) -> Iterator[Finding]:
        """Look at a stage's name and those of the stages before it."""
        name = fact.instruction.name
        if name and name in self._names:
            message = f'Duplicate stage name "{name}", stage names should be unique'
            yield Finding(message, fact.instruction.name_span)
        self._names.add(name)
