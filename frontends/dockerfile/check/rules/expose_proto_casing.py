# SPDX-License-Identifier: Apache-2.0
"""ExposeProtoCasing: a protocol in EXPOSE is not in lower case.

Why: the image config has it in lower case; the file should say the same.

Use instead: ``EXPOSE 53/udp``.
"""

from __future__ import annotations

from llbkit.frontends.dockerfile.check.check import Linter, Rule
from llbkit.frontends.dockerfile.lower.steps.ports import PortWord
from llbkit.frontends.kit.errors.places import Place

RULE = Rule(
    name="ExposeProtoCasing",
    description="Protocol in EXPOSE instruction should be lowercase",
)
VALID = ("FROM alpine:3.20\nEXPOSE 53/udp\n",)
INVALID = ("FROM alpine:3.20\nEXPOSE 53/UDP\n",)


def check(lint: Linter, port: PortWord, place: Place) -> None:
    """Look at a port of EXPOSE, after expansion."""
    if port.protocol != port.protocol.lower():
        lint.report(
            RULE,
            place,
            f"Defined protocol '{port.text}' in EXPOSE instruction should be lowercase",
        )
