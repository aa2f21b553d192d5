# SPDX-License-Identifier: Apache-2.0
"""MultipleInstructionsDisallowed."""

from __future__ import annotations

from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.buildcheck import BuildCheck
from llbkit.frontends.dockerfile.facts import ProcessSet
from llbkit.frontends.dockerfile.syntax.words import where
from llbkit.frontends.kit.lint.rule import Example, Finding, hears
from llbkit.grammar import Edit, Fix


class MultipleInstructionsDisallowed(BuildCheck):
    """CMD, ENTRYPOINT or HEALTHCHECK stands twice in a stage.

    Why: only the last one counts.

    Use instead: remove the earlier one.
    """

    name = "MultipleInstructionsDisallowed"
    description = "Multiple instructions of the same type should not be used in the same stage"
    good = (
        Example(text='FROM alpine:3.20\nCMD ["a"]\n'),
        Example(text='FROM alpine:3.20 AS a\nCMD ["a"]\nFROM a\nCMD ["b"]\n'),
    )
    bad = (
        Example(
            text='FROM alpine:3.20\n«CMD» ["a"]\nCMD ["b"]\n',
            fixed='FROM alpine:3.20\nCMD ["b"]\n',
        ),
        Example(
            text="FROM alpine:3.20\n«HEALTHCHECK» NONE\nHEALTHCHECK CMD a\n",
            fixed="FROM alpine:3.20\nHEALTHCHECK CMD a\n",
        ),
    )

    @hears(ProcessSet)
    def look(self, fact: ProcessSet) -> Iterator[Finding]:
        """Look at an instruction that has been used before; the earlier one is at fault."""
        earlier = fact.earlier
        if earlier is None:
            return
        message = f"Multiple {fact.instruction.keyword} instructions should not be used in the same stage because only the last one will be used"
        fixes: tuple[Fix, ...] = ()
        if earlier.span is not None:
            span = earlier.span
            end = span.source.text.find("\n", span.end) + 1 or len(span.source.text)
            edit = Edit(span.source.span(span.start, end), "")
            # The history of the image is another.
            fixes = (Fix(title="Remove the instruction", edits=(edit,), safe=False),)
        yield Finding(message, where(earlier.keyword), fixes, earlier.place)
