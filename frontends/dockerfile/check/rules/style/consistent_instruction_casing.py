# SPDX-License-Identifier: Apache-2.0
"""ConsistentInstructionCasing."""

from __future__ import annotations

from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.buildcheck import BuildCheck
from llbkit.frontends.dockerfile.facts import ProgramRead
from llbkit.frontends.dockerfile.syntax.words import where
from llbkit.frontends.kit.lint.rule import Example, Finding, hears
from llbkit.grammar import Edit, Fix


class ConsistentInstructionCasing(BuildCheck):
    """An instruction is not in the case of most others.

    Why: one convention in a file is easier to read.

    Use instead: one case for all instructions, best upper case.
    """

    name = "ConsistentInstructionCasing"
    description = "All commands within the Dockerfile should use the same casing (either upper or lower)"
    heeds_comments = False
    good = (
        Example(text="FROM alpine:3.20\nRUN a\n"),
        Example(text="from alpine:3.20\nrun a\n"),
        Example(text="arg A\nFROM alpine:3.20\n"),
    )
    bad = (
        Example(text="FROM alpine:3.20\n«run» a\nRUN b\n", fixed="FROM alpine:3.20\nRUN a\nRUN b\n"),
        Example(text="FROM alpine:3.20\n«Run» a\n", fixed="FROM alpine:3.20\nRUN a\n"),
        Example(text="from alpine:3.20\n«RUN» a\nuser b\n", fixed="from alpine:3.20\nrun a\nuser b\n"),
    )

    @hears(ProgramRead)
    def look(self, fact: ProgramRead) -> Iterator[Finding]:
        """Look at all instruction words of the stages; at a tie, upper case is the majority."""
        found = [item for stage in fact.program.stages for item in (stage, *stage.commands)]
        lower = sum(item.keyword == item.keyword.lower() for item in found)
        upper = sum(item.keyword == item.keyword.upper() != item.keyword.lower() for item in found)
        majority = "lowercase" if lower > upper else "uppercase"
        for item in found:
            word = item.keyword
            wanted = word.lower() if lower > upper else word.upper()
            if word == wanted:
                continue
            span = where(word)
            fixes = (Fix(title=f"Write {wanted}", edits=(Edit(span, wanted),)),) if span is not None else ()
            message = f"Command '{word}' should match the case of the command majority ({majority})"
            yield Finding(message, span, fixes, item.place)
