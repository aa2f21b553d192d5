# SPDX-License-Identifier: Apache-2.0
"""MultipleInstructionsDisallowed: CMD, ENTRYPOINT or HEALTHCHECK stands twice in a stage.

Why: only the last one counts.

Use instead: remove the earlier one.
"""

from __future__ import annotations

from llbkit.frontends.dockerfile.check.check import Linter, Rule
from llbkit.frontends.kit.errors.places import Place

RULE = Rule(
    name="MultipleInstructionsDisallowed",
    description="Multiple instructions of the same type should not be used in the same stage",
)
VALID = ('FROM alpine:3.20\nCMD ["a"]\n',)
INVALID = (
    'FROM alpine:3.20\nCMD ["a"]\nCMD ["b"]\n',
    "FROM alpine:3.20\nHEALTHCHECK NONE\nHEALTHCHECK CMD a\n",
)


def check(lint: Linter, keyword: str, earlier: Place) -> None:
    """Look at an instruction that has been used before; the earlier one is at fault."""
    message = f"Multiple {keyword} instructions should not be used in the same stage because only the last one will be used"
    lint.report(RULE, earlier, message)
