# SPDX-License-Identifier: Apache-2.0
"""InvalidBaseImagePlatform: a base image is of another platform than the stage.

Why: its programs may not run, or only in emulation.

Use instead: an image that has the platform, or ``FROM --platform``.
"""

from __future__ import annotations

from llbkit.frontends.dockerfile.check.check import Linter, Rule
from llbkit.frontends.kit import platforms
from llbkit.frontends.kit.errors.places import Place
from llbkit.llb.ir.ops import Platform

RULE = Rule(
    name="InvalidBaseImagePlatform",
    description="Base image platform does not match expected target platform",
    linked=False,
)
VALID = ()
INVALID = ()


def check(lint: Linter, name: str, expected: Platform, actual: Platform, place: Place) -> None:
    """Compare a stage's platform with its image's; variants may differ."""
    if (expected.os, expected.architecture) == (actual.os, actual.architecture):
        return
    have, want = (platforms.format_all(platforms.normalize(p)) for p in (actual, expected))
    message = f'Base image {name} was pulled with platform "{have}", expected "{want}" for current build'
    lint.report(RULE, place, message)
