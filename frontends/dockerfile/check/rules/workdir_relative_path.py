# SPDX-License-Identifier: Apache-2.0
"""WorkdirRelativePath: the first WORKDIR of a stage is relative.

Why: it depends on the base image's working directory, which may change.

Use instead: ``WORKDIR /app``.
"""

from __future__ import annotations

from llbkit.frontends.dockerfile.check.check import Linter, Rule
from llbkit.frontends.kit.errors.places import Place
from llbkit.frontends.kit.golang.quote import go_quote

RULE = Rule(
    name="WorkdirRelativePath",
    description="Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
)
VALID = ("FROM alpine:3.20\nWORKDIR /a\nWORKDIR b\n",)
INVALID = ("FROM alpine:3.20\nWORKDIR a\n",)


def check(lint: Linter, path: str, place: Place) -> None:
    """Look at the first WORKDIR of a stage chain, after expansion."""
    message = f"Relative workdir {go_quote(path)} can have unexpected results if the base image changes"
    lint.report(RULE, place, message)
