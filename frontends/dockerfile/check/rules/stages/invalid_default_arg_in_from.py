# SPDX-License-Identifier: Apache-2.0
"""InvalidDefaultArgInFrom."""

from __future__ import annotations

from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.buildcheck import BuildCheck
from llbkit.frontends.dockerfile.facts import DefaultBase
from llbkit.frontends.dockerfile.syntax.words import where
from llbkit.frontends.kit.lint.rule import Example, Finding, hears
from llbkit.llb.address.reference import InvalidReferenceError
from llbkit.llb.address.reference import parse as parse_reference


class InvalidDefaultArgInFrom(BuildCheck):
    """Without build arguments, FROM names no valid image.

    Why: the file cannot be built as it is.

    Use instead: a default: ``ARG TAG=3.20``.
    """

    name = "InvalidDefaultArgInFrom"
    description = "Default value for global ARG results in an empty or invalid base image name"
    heeds_comments = False
    good = (Example(text="ARG TAG=3.20\nFROM alpine:${TAG}\n"),)
    bad = (Example(text="ARG TAG\nFROM «alpine:${TAG}»\n"),)

    @hears(DefaultBase)
    def look(self, fact: DefaultBase) -> Iterator[Finding]:
        """Look at a base name that was expanded with defaults only."""
        base = fact.instruction.base
        try:
            parse_reference(fact.name)
        except InvalidReferenceError:
            message = f"Default value for ARG {base} results in empty or invalid base image name"
            yield Finding(message, where(base))
