# SPDX-License-Identifier: Apache-2.0
"""FromAsCasing."""

from __future__ import annotations

from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.buildcheck import BuildCheck
from llbkit.frontends.dockerfile.facts import InstructionSeen
from llbkit.frontends.kit.lint.rule import Example, Finding, hears
from llbkit.grammar import Edit, Fix


class FromAsCasing(BuildCheck):
    """FROM and its AS are not written in the same case.

    Why: mixed case in one instruction is a slip that distracts readers.

    Use instead: ``FROM image AS name`` or ``from image as name``.
    """

    name = "FromAsCasing"
    description = "The 'as' keyword should match the case of the 'from' keyword"
    good = (Example(text="FROM alpine:3.20 AS a\n"), Example(text="from alpine:3.20 as a\n"))
    bad = (
        Example(text="FROM alpine:3.20 «as» a\n", fixed="FROM alpine:3.20 AS a\n"),
        Example(text="from alpine:3.20 «AS» a\n", fixed="from alpine:3.20 as a\n"),
    )

    @hears(InstructionSeen, "from")
    def look(self, fact: InstructionSeen) -> Iterator[Finding]:
        """Look at the words of a FROM; a keyword in mixed case is ConsistentInstructionCasing's business."""
        keyword, words = fact.node.value, fact.node.words
        if len(words) < 3:
            return
        word = words[1]
        if keyword == keyword.lower():
            wanted = word.lower()
        elif keyword == keyword.upper():
            wanted = word.upper()
        else:
            return
        if word != wanted:
            fix = Fix(title=f"Write {wanted}", edits=(Edit(word.span, wanted),))
            yield Finding(f"'{word}' and '{keyword}' keywords' casing do not match", word.span, (fix,))
