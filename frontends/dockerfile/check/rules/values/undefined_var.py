# SPDX-License-Identifier: Apache-2.0
"""UndefinedVar."""

from __future__ import annotations

from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.buildcheck import BuildCheck
from llbkit.frontends.dockerfile.facts import VariableUnset
from llbkit.frontends.kit.errors.suggest import suggest
from llbkit.frontends.kit.lint.rule import Example, Finding, hears

_MOST_COMPARED = 500
"""After so many findings, names are not compared with all others any more."""


class UndefinedVar(BuildCheck):
    """A word uses a variable that neither ENV nor ARG defines.

    Why: it expands to nothing.

    Use instead: declare it with ARG or ENV, or escape the ``$``.
    """

    name = "UndefinedVar"
    description = "Variables should be defined before their use"
    needs_image = True
    good = (
        Example(text="FROM alpine:3.20\nARG A\nCOPY x$A /\n"),
        Example(text="FROM alpine:3.20\nRUN echo $A\n"),
        Example(text="FROM alpine:3.20\nCOPY '$A' /\n"),
    )
    bad = (
        Example(text="FROM alpine:3.20\nCOPY x«$A» /\n"),
        Example(text="FROM alpine:3.20\nENV B=«${A:-1}»\n"),
        Example(text='FROM alpine:3.20\nRUN --mount="target=/a,source=/«${A}»b" x\n'),
        Example(text="FROM alpine:3.20\nCOPY <<E /\na\n«$B»\nE\n"),
        Example(text='FROM alpine:3.20\nVOLUME ["/\\u0061«${C}»"]\n'),
    )

    def __init__(self) -> None:
        self._found = 0

    @hears(VariableUnset)
    def look(self, fact: VariableUnset) -> Iterator[Finding]:
        """Look at a variable that has no value."""
        if fact.declared:
            return
        close = suggest(fact.name, list(fact.known)) if self._found < _MOST_COMPARED else ""
        self._found += 1
        hint = f" (did you mean ${close}?)" if close else ""
        yield Finding(f"Usage of undefined variable '${fact.name}'{hint}", fact.span)
