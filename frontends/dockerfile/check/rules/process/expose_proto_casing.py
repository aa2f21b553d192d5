# SPDX-License-Identifier: Apache-2.0
"""ExposeProtoCasing."""

from __future__ import annotations

from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.buildcheck import BuildCheck
from llbkit.frontends.dockerfile.facts import PortExposed
from llbkit.frontends.dockerfile.syntax.words import where
from llbkit.frontends.kit.lint.rule import Example, Finding, hears
from llbkit.grammar import Edit, Fix


class ExposeProtoCasing(BuildCheck):
    """A protocol in EXPOSE is not in lower case.

    Why: the image config has it in lower case; the file should say the same.

    Use instead: ``EXPOSE 53/udp``.
    """

    name = "ExposeProtoCasing"
    description = "Protocol in EXPOSE instruction should be lowercase"
    good = (Example(text="FROM alpine:3.20\nEXPOSE 53/udp\n"),)
    bad = (
        Example(text="FROM alpine:3.20\nEXPOSE 80 «53/UDP»\n", fixed="FROM alpine:3.20\nEXPOSE 80 53/udp\n"),
        Example(text="FROM alpine:3.20\nENV P=53/UDP\nEXPOSE «$P»\n"),
    )

    @hears(PortExposed)
    def look(self, fact: PortExposed) -> Iterator[Finding]:
        """Look at a port of EXPOSE, after expansion."""
        port = fact.port
        if port.protocol == port.protocol.lower():
            return
        span = where(fact.word)
        fixes: tuple[Fix, ...] = ()
        if span is not None and span.text == port.text:
            start = span.end - len(port.protocol)
            edit = Edit(span.source.span(start, span.end), port.protocol.lower())
            fixes = (Fix(title="Write the protocol in lower case", edits=(edit,)),)
        yield Finding(
            f"Defined protocol '{port.text}' in EXPOSE instruction should be lowercase", span, fixes
        )
