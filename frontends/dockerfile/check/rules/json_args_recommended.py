# SPDX-License-Identifier: Apache-2.0
"""JSONArgsRecommended: CMD or ENTRYPOINT is in shell form, and no SHELL was chosen.

Why: the shell, not the program, is process 1 then and gets the signals.

Use instead: ``CMD ["program", "argument"]``; or choose a shell with SHELL.
"""

from __future__ import annotations

from llbkit.frontends.dockerfile.check.check import Linter, Rule
from llbkit.frontends.kit.errors.places import Place

RULE = Rule(
    name="JSONArgsRecommended",
    description="JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
)
VALID = (
    'FROM alpine:3.20\nCMD ["a"]\n',
    'FROM alpine:3.20\nSHELL ["/bin/sh", "-c"]\nCMD a\n',
    "FROM alpine:3.20\nHEALTHCHECK CMD a\n",
)
INVALID = ("FROM alpine:3.20\nCMD a\n", "FROM alpine:3.20\nENTRYPOINT a b\n")


def check(lint: Linter, keyword: str, has_shell: bool, place: Place) -> None:
    """Look at a CMD or ENTRYPOINT in shell form."""
    if not has_shell:
        message = (
            f"JSON arguments recommended for {keyword} to prevent unintended behavior related to OS signals"
        )
        lint.report(RULE, place, message)
