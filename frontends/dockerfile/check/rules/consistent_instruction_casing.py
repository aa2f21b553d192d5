# SPDX-License-Identifier: Apache-2.0
"""ConsistentInstructionCasing: an instruction is not in the case of most others.

Why: one convention in a file is easier to read.

Use instead: one case for all instructions, best upper case.
"""

from __future__ import annotations

from collections.abc import Sequence

from llbkit.frontends.dockerfile.check.check import Linter, Rule
from llbkit.frontends.kit.errors.places import Place

RULE = Rule(
    name="ConsistentInstructionCasing",
    description="All commands within the Dockerfile should use the same casing (either upper or lower)",
)
VALID = ("FROM alpine:3.20\nRUN a\n", "from alpine:3.20\nrun a\n")
INVALID = ("FROM alpine:3.20\nrun a\nRUN b\n", "FROM alpine:3.20\nRun a\n")


def check(lint: Linter, keywords: Sequence[tuple[str, Place]]) -> None:
    """Look at all instruction words of the stages; at a tie, upper case is the majority."""
    lower = sum(word == word.lower() for word, _ in keywords)
    upper = sum(word == word.upper() != word.lower() for word, _ in keywords)
    majority = "lowercase" if lower > upper else "uppercase"
    for word, place in keywords:
        if word != (word.lower() if lower > upper else word.upper()):
            message = f"Command '{word}' should match the case of the command majority ({majority})"
            lint.report(RULE, place, message)
