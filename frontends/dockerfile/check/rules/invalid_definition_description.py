# SPDX-License-Identifier: Apache-2.0
"""InvalidDefinitionDescription: the comment above a named FROM or an ARG does not describe it.

Why: tools show ``# NAME description`` as documentation of the stage or argument.

Use instead: ``# name what it is``, or an empty ``#`` line between.
"""

from __future__ import annotations

from collections.abc import Sequence

from llbkit.frontends.dockerfile.check.check import Linter, Rule
from llbkit.frontends.kit.errors.places import Place

RULE = Rule(
    name="InvalidDefinitionDescription",
    description="Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.",
    experimental=True,
)
VALID = ("# check=experimental=all\n# a is good\nARG a\nFROM alpine:3.20\n",)
INVALID = ("# check=experimental=all\n# good\nARG a\nFROM alpine:3.20\n",)


def check(
    lint: Linter,
    keyword: str,
    keys: Sequence[str],
    comments: Sequence[str],
    place: Place,
) -> None:
    """Look at the comments above a FROM or ARG that defines ``keys``."""
    if not comments or not keys or comments[-1].split(" ")[0] in keys:
        return
    example = keys[0] if len(keys) == 1 else "<arg_key>"
    message = f"Comment for {keyword} should follow the format: `# {example} <description>`"
    lint.report(RULE, place, message)
