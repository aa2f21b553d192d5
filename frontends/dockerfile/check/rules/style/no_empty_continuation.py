# SPDX-License-Identifier: Apache-2.0
"""NoEmptyContinuation."""

from __future__ import annotations

from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.buildcheck import BuildCheck
from llbkit.frontends.dockerfile.facts import ParserWarned
from llbkit.frontends.kit.lint.rule import Example, Finding, hears
from llbkit.grammar import Edit, Fix


class NoEmptyContinuation(BuildCheck):
    """An empty line stands inside a continued instruction.

    Why: the empty line looks like the end of the instruction, but is not.

    Use instead: remove the line, or put a comment there.
    """

    name = "NoEmptyContinuation"
    description = "Empty continuation lines will become errors in a future release"
    heeds_comments = False
    good = (
        Example(text="FROM alpine:3.20\nRUN a && \\\n  b\n"),
        Example(text="FROM alpine:3.20\nRUN a && \\\n# why\n  b\n"),
    )
    bad = (
        Example(
            text="FROM alpine:3.20\nRUN a && \\\n«\n»  b\n", fixed="FROM alpine:3.20\nRUN a && \\\n  b\n"
        ),
        Example(
            text="FROM alpine:3.20\nRUN a && \\\n« \t\n» b && \\\n\n  c\n",
            fixed="FROM alpine:3.20\nRUN a && \\\n b && \\\n  c\n",
        ),
    )

    @hears(ParserWarned)
    def look(self, fact: ParserWarned) -> Iterator[Finding]:
        """Pass on what the parser found."""
        if fact.warning.url == self.url():
            edits = tuple(Edit(span, "") for span in fact.warning.blank)
            fix = Fix(title="Remove the empty lines", edits=edits)
            yield Finding("Empty continuation line", fact.warning.blank[0], (fix,))
