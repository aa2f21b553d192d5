# SPDX-License-Identifier: Apache-2.0
"""UndefinedVar: a word uses a variable that neither ENV nor ARG defines.

Why: it expands to nothing.

Use instead: declare it with ARG or ENV, or escape the ``$``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from llbkit.frontends.dockerfile.check.check import Linter, Rule
from llbkit.frontends.kit.errors.places import Place
from llbkit.frontends.kit.errors.suggest import suggest

RULE = Rule(
    name="UndefinedVar",
    description="Variables should be defined before their use",
)
VALID = ("FROM alpine:3.20\nARG A\nCOPY x$A /\n", "FROM alpine:3.20\nRUN echo $A\n")
INVALID = ("FROM alpine:3.20\nCOPY x$A /\n", "FROM alpine:3.20\nENV B=${A:-1}\n")


_MOST_COMPARED = 500
"""After so many findings, names are not compared with all others any more."""
IGNORED = frozenset({"BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"})


def check(
    lint: Linter,
    unmatched: Collection[str],
    declared: Iterable[str],
    known: Iterable[str],
    place: Place,
) -> None:
    """Look at the variables of a word that have no value; ``declared`` are ARGs, ``known`` the environment."""
    options = list(known)
    for name in sorted(set(unmatched) - set(declared) - IGNORED):
        close = suggest(name, options) if len(lint.findings.fired) < _MOST_COMPARED else ""
        hint = f" (did you mean ${close}?)" if close else ""
        lint.report(RULE, place, f"Usage of undefined variable '${name}'{hint}")
