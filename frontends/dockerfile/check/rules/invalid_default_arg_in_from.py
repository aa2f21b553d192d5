# SPDX-License-Identifier: Apache-2.0
"""InvalidDefaultArgInFrom: without build arguments, FROM names no valid image.

Why: the file cannot be built as it is.

Use instead: a default: ``ARG TAG=3.20``.
"""

from __future__ import annotations

from llbkit.frontends.dockerfile.check.check import Linter, Rule
from llbkit.frontends.kit.errors.places import Place
from llbkit.llb.address.reference import InvalidReferenceError
from llbkit.llb.address.reference import parse as parse_reference

RULE = Rule(
    name="InvalidDefaultArgInFrom",
    description="Default value for global ARG results in an empty or invalid base image name",
)
VALID = ("ARG TAG=3.20\nFROM alpine:${TAG}\n",)
INVALID = ("ARG TAG\nFROM alpine:${TAG}\n",)


def check(lint: Linter, written: str, name: str, place: Place) -> None:
    """Look at a base name that was expanded with defaults only."""
    try:
        parse_reference(name)
    except InvalidReferenceError:
        message = f"Default value for ARG {written} results in empty or invalid base image name"
        lint.report(RULE, place, message)
