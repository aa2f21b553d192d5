# SPDX-License-Identifier: Apache-2.0
"""InvalidBaseImagePlatform."""

from __future__ import annotations

from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.buildcheck import BuildCheck
from llbkit.frontends.dockerfile.facts import BaseResolved, BaseUnresolved
from llbkit.frontends.dockerfile.syntax.words import where
from llbkit.frontends.kit import platforms
from llbkit.frontends.kit.lint.rule import Example, Finding, hears


class InvalidBaseImagePlatform(BuildCheck):
    """A base image is of another platform than the stage.

    Why: its programs may not run, or only in emulation.

    Use instead: an image that has the platform, or ``FROM --platform``.
    """

    name = "InvalidBaseImagePlatform"
    description = "Base image platform does not match expected target platform"
    linked = False
    needs_image = True
    good = (Example(text="FROM alpine:3.20\n"),)
    bad = (Example(text="FROM «alpine:3.20»\n", image="linux/s390x"),)

    @hears(BaseResolved)
    def look(self, fact: BaseResolved) -> Iterator[Finding]:
        """Compare a stage's platform with its image's; variants may differ, and an empty image is of any platform."""
        expected, actual = fact.expected, fact.actual
        if fact.empty or (expected.os, expected.architecture) == (actual.os, actual.architecture):
            return
        have, want = (platforms.format_all(platforms.normalize(p)) for p in (actual, expected))
        message = (
            f'Base image {fact.name} was pulled with platform "{have}", expected "{want}" for current build'
        )
        yield Finding(message, where(fact.instruction.base))

    @hears(BaseUnresolved)
    def pass_over(self, fact: BaseUnresolved) -> Iterator[Finding]:
        """Be skipped for an image that is not known."""
        yield Finding(f"The platform of base image {fact.name} is not known", where(fact.instruction.base))
