# SPDX-License-Identifier: Apache-2.0
"""ExposeInvalidFormat."""

from __future__ import annotations

from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.buildcheck import BuildCheck
from llbkit.frontends.dockerfile.facts import PortExposed
from llbkit.frontends.dockerfile.syntax.words import where
from llbkit.frontends.kit.lint.rule import Example, Finding, hears
from llbkit.grammar import Edit, Fix


class ExposeInvalidFormat(BuildCheck):
    """EXPOSE holds an IP address or a host port.

    Why: EXPOSE says what the container listens on; the host side is chosen when it is run.

    Use instead: ``EXPOSE 80``.
    """

    name = "ExposeInvalidFormat"
    description = "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release"
    good = (Example(text="FROM alpine:3.20\nEXPOSE 80-81\n"), Example(text="FROM alpine:3.20\nEXPOSE :80\n"))
    bad = (
        Example(text="FROM alpine:3.20\nEXPOSE «8080:80»\n", fixed="FROM alpine:3.20\nEXPOSE 80\n"),
        Example(
            text="FROM alpine:3.20\nEXPOSE 53 «127.0.0.1:80:80/tcp»\n",
            fixed="FROM alpine:3.20\nEXPOSE 53 80/tcp\n",
        ),
    )

    @hears(PortExposed)
    def look(self, fact: PortExposed) -> Iterator[Finding]:
        """Look at a port of EXPOSE, after expansion."""
        port = fact.port
        if not port.address and not port.host:
            return
        message = (
            f"EXPOSE instruction should not define an IP address or host-port mapping, found '{port.text}'"
        )
        span = where(fact.word)
        fixes: tuple[Fix, ...] = ()
        if span is not None and span.text == port.text:
            edit = Edit(span.source.span(span.start, span.start + port.text.rindex(":") + 1), "")
            fixes = (Fix(title="Keep the container's port", edits=(edit,)),)
        yield Finding(message, span, fixes)
