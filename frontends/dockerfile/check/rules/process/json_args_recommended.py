# SPDX-License-Identifier: Apache-2.0
"""JSONArgsRecommended."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.buildcheck import BuildCheck
from llbkit.frontends.dockerfile.facts import ProcessSet
from llbkit.frontends.dockerfile.program.instructions import Healthcheck
from llbkit.frontends.dockerfile.syntax.words import where
from llbkit.frontends.kit.lint.rule import Example, Finding, hears
from llbkit.grammar import Edit, Fix

_SIMPLE = re.compile(r"[\w@%+=:,./-]+(?: +[\w@%+=:,./-]+)*", re.ASCII)


class JSONArgsRecommended(BuildCheck):
    """CMD or ENTRYPOINT is in shell form, and no SHELL was chosen.

    Why: the shell, not the program, is process 1 then and gets the signals.

    Use instead: ``CMD ["program", "argument"]``; or choose a shell with SHELL.
    """

    name = "JSONArgsRecommended"
    description = (
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals"
    )
    needs_image = True
    good = (
        Example(text='FROM alpine:3.20\nCMD ["a"]\n'),
        Example(text='FROM alpine:3.20\nSHELL ["/bin/sh", "-c"]\nCMD a\n'),
        Example(text="FROM alpine:3.20\nHEALTHCHECK CMD a\n"),
    )
    bad = (
        Example(text="FROM alpine:3.20\nCMD «a»\n", fixed='FROM alpine:3.20\nCMD ["a"]\n'),
        Example(
            text="FROM alpine:3.20\nENTRYPOINT «a  b»\n", fixed='FROM alpine:3.20\nENTRYPOINT ["a", "b"]\n'
        ),
        Example(text="FROM alpine:3.20\nCMD «a && b»\n"),
    )

    @hears(ProcessSet)
    def look(self, fact: ProcessSet) -> Iterator[Finding]:
        """Look at a CMD or ENTRYPOINT."""
        command = fact.instruction
        if isinstance(command, Healthcheck) or not command.line.shell or fact.has_shell:
            return
        message = f"JSON arguments recommended for {command.keyword} to prevent unintended behavior related to OS signals"
        text = command.line.words[0] if command.line.words else ""
        span = where(text) or where(command.keyword)
        fixes: tuple[Fix, ...] = ()
        if span is not None and span.text == text and _SIMPLE.fullmatch(text):
            edit = Edit(span, json.dumps(text.split()))
            fixes = (Fix(title="Write a JSON array", edits=(edit,), safe=False),)  # no shell runs it then
        yield Finding(message, span, fixes)
