# SPDX-License-Identifier: Apache-2.0
"""MaintainerDeprecated."""

from __future__ import annotations

import re
from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.buildcheck import BuildCheck
from llbkit.frontends.dockerfile.facts import InstructionSeen
from llbkit.frontends.kit.lint.rule import Example, Finding, hears
from llbkit.grammar import Edit, Fix

_PLAIN = re.compile(r"[^\"'\\`$\n]+")


class MaintainerDeprecated(BuildCheck):
    """MAINTAINER is used.

    Why: it is deprecated; labels can be read by every tool.

    Use instead: ``LABEL org.opencontainers.image.authors="name"``.
    """

    name = "MaintainerDeprecated"
    description = "The MAINTAINER instruction is deprecated, use a label instead to define an image author"
    good = (Example(text='FROM alpine:3.20\nLABEL org.opencontainers.image.authors="me"\n'),)
    bad = (
        Example(
            text="FROM alpine:3.20\n«MAINTAINER» me <me@example.org>\n",
            fixed='FROM alpine:3.20\nLABEL org.opencontainers.image.authors="me <me@example.org>"\n',
        ),
        Example(text='FROM alpine:3.20\n«MAINTAINER» "me"\n'),
    )

    @hears(InstructionSeen, "maintainer")
    def look(self, fact: InstructionSeen) -> Iterator[Finding]:
        """Look at a MAINTAINER."""
        node = fact.node
        fixes: tuple[Fix, ...] = ()
        if len(node.words) == 1 and _PLAIN.fullmatch(node.words[0]):
            edit = Edit(
                node.value.span.to(node.words[0].span),
                f'LABEL org.opencontainers.image.authors="{node.words[0]}"',
            )
            fixes = (Fix(title="Use a label", edits=(edit,), safe=False),)  # the image has no author then
        yield Finding("Maintainer instruction is deprecated in favor of using label", node.value.span, fixes)
