# SPDX-License-Identifier: Apache-2.0
"""MaintainerDeprecated: MAINTAINER is used.

Why: it is deprecated; labels can be read by every tool.

Use instead: ``LABEL org.opencontainers.image.authors="name"``.
"""

from __future__ import annotations

from llbkit.frontends.dockerfile.check.check import Linter, Rule
from llbkit.frontends.kit.errors.places import Place

RULE = Rule(
    name="MaintainerDeprecated",
    description="The MAINTAINER instruction is deprecated, use a label instead to define an image author",
)
VALID = ('FROM alpine:3.20\nLABEL org.opencontainers.image.authors="me"\n',)
INVALID = ("FROM alpine:3.20\nMAINTAINER me\n",)


def check(lint: Linter, place: Place) -> None:
    """Look at a MAINTAINER."""
    lint.report(RULE, place, "Maintainer instruction is deprecated in favor of using label")
