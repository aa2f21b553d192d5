# SPDX-License-Identifier: Apache-2.0
"""LegacyKeyValueFormat: ENV or LABEL is written ``KEY value``.

Why: it can set one variable only, and quotes mean something else in it.

Use instead: ``ENV KEY=value``.
"""

from __future__ import annotations

from llbkit.frontends.dockerfile.check.check import Linter, Rule
from llbkit.frontends.kit.errors.places import Place

RULE = Rule(
    name="LegacyKeyValueFormat",
    description="Legacy key/value format with whitespace separator should not be used",
)
VALID = ("FROM alpine:3.20\nENV A=b\n",)
INVALID = ("FROM alpine:3.20\nENV A b\n", "FROM alpine:3.20\nLABEL a b c\n")


def check(lint: Linter, keyword: str, place: Place) -> None:
    """Look at an ENV or LABEL without ``=``."""
    message = f'"{keyword} key=value" should be used instead of legacy "{keyword} key value" format'
    lint.report(RULE, place, message)
