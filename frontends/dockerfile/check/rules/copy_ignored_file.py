# SPDX-License-Identifier: Apache-2.0
"""CopyIgnoredFile: COPY or ADD takes a file that .dockerignore excludes.

Why: it is not in the build context, so the instruction fails.

Use instead: remove the pattern, or add an exception with ``!``.
"""

from __future__ import annotations

import posixpath

from llbkit.frontends.dockerfile.check.check import Linter, Rule
from llbkit.frontends.kit.errors.places import Place
from llbkit.grammar.patterns.match import PatternError, PatternMatcher

RULE = Rule(
    name="CopyIgnoredFile",
    description="Attempting to Copy file that is excluded by .dockerignore",
)
_EVERYTHING = ("*", "**", "**/*")
VALID = ("FROM alpine:3.20\nCOPY . /\n",)
INVALID = ()


def check(
    lint: Linter,
    matcher: PatternMatcher | None,
    source: str,
    is_add: bool,
    place: Place,
) -> None:
    """Look at a source in the build context; ``matcher`` None: nothing is ignored for certain."""
    if matcher is None:
        return
    path = posixpath.normpath(source).replace("//", "/")
    if path in (".", "/") and all(pattern.text not in _EVERYTHING for pattern in matcher.patterns):
        return  # the context itself; ".*" does not mean it
    try:
        ignored = matcher.matches_or_parent(path)
    except PatternError:
        return
    if ignored:
        word = "Add" if is_add else "Copy"
        lint.report(
            RULE,
            place,
            f'Attempting to {word} file "{path}" that is excluded by .dockerignore',
        )
