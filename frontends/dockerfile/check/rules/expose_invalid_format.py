# SPDX-License-Identifier: Apache-2.0
"""ExposeInvalidFormat: EXPOSE holds an IP address or a host port.

Why: EXPOSE says what the container listens on; the host side is chosen when it is run.

Use instead: ``EXPOSE 80``.
"""

from __future__ import annotations

from llbkit.frontends.dockerfile.check.check import Linter, Rule
from llbkit.frontends.dockerfile.lower.steps.ports import PortWord
from llbkit.frontends.kit.errors.places import Place

RULE = Rule(
    name="ExposeInvalidFormat",
    description="IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
)
VALID = ("FROM alpine:3.20\nEXPOSE 80-81\n", "FROM alpine:3.20\nEXPOSE :80\n")
INVALID = (
    "FROM alpine:3.20\nEXPOSE 8080:80\n",
    "FROM alpine:3.20\nEXPOSE 127.0.0.1:80:80\n",
)


def check(lint: Linter, port: PortWord, place: Place) -> None:
    """Look at a port of EXPOSE, after expansion."""
    if port.address or port.host:
        message = (
            f"EXPOSE instruction should not define an IP address or host-port mapping, found '{port.text}'"
        )
        lint.report(RULE, place, message)
