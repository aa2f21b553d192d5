# SPDX-License-Identifier: Apache-2.0
"""InvalidDefinitionDescription."""

from __future__ import annotations

from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.buildcheck import BuildCheck
from llbkit.frontends.dockerfile.facts import InstructionRead
from llbkit.frontends.dockerfile.program.instructions import Arg, Stage
from llbkit.frontends.dockerfile.syntax.words import where
from llbkit.frontends.kit.lint.rule import Example, Finding, hears


class InvalidDefinitionDescription(BuildCheck):
    """The comment above a named FROM or an ARG does not describe it.

    Why: tools show ``# NAME description`` as documentation of the stage or argument.

    Use instead: ``# name what it is``, or an empty ``#`` line between.
    """

    name = "InvalidDefinitionDescription"
    description = "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment."
    experimental = True
    good = (
        Example(text="# check=experimental=all\n# a is good\nARG a\nFROM alpine:3.20\n"),
        Example(text="# check=experimental=all\n# good\n#\nARG a\nFROM alpine:3.20\n"),
        Example(text="# good\nARG a\nFROM alpine:3.20\n"),
    )
    bad = (
        Example(text="# check=experimental=all\n# good\nARG «a»\nFROM alpine:3.20\n"),
        Example(text="# check=experimental=all\n# good\nFROM alpine:3.20 AS «b»\n"),
    )

    @hears(InstructionRead, "from", "arg")
    def look(self, fact: InstructionRead) -> Iterator[Finding]:
        """Look at the comments above a FROM or ARG that defines something."""
        match fact.instruction:
            case Stage(name=name) as stage:
                keyword, keys, span = "FROM", [name] if name else [], stage.name_span
            case Arg(args=args):
                keyword, keys, span = "ARG", [key for key, _ in args], where(args[0][0])
            case _:
                return
        if not fact.comments or not keys or fact.comments[-1].split(" ")[0] in keys:
            return
        example = keys[0] if len(keys) == 1 else "<arg_key>"
        yield Finding(f"Comment for {keyword} should follow the format: `# {example} <description>`", span)
