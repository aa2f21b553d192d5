# SPDX-License-Identifier: Apache-2.0
"""CopyIgnoredFile."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.buildcheck import BuildCheck
from llbkit.frontends.dockerfile.facts import ContextCopied
from llbkit.frontends.dockerfile.syntax.words import where
from llbkit.frontends.kit.lint.rule import Example, Finding, hears
from llbkit.grammar.patterns.match import PatternError

_EVERYTHING = ("*", "**", "**/*")


class CopyIgnoredFile(BuildCheck):
    """COPY or ADD takes a file that .dockerignore excludes.

    Why: it is not in the build context, so the instruction fails.

    Use instead: remove the pattern, or add an exception with ``!``.
    """

    name = "CopyIgnoredFile"
    description = "Attempting to Copy file that is excluded by .dockerignore"
    good = (
        Example(text="FROM alpine:3.20\nCOPY . /\n"),
        Example(text="FROM alpine:3.20\nCOPY . /\n", ignored="a\n"),
        Example(text="FROM alpine:3.20\nCOPY a /\n", ignored="*\n!a\n"),
    )
    bad = (
        Example(text="FROM alpine:3.20\nCOPY b «a/c» /\n", ignored="a\n"),
        Example(text="FROM alpine:3.20\nADD «.» /\n", ignored="*\n"),
    )

    @hears(ContextCopied)
    def look(self, fact: ContextCopied) -> Iterator[Finding]:
        """Look at a source in the build context."""
        matcher = fact.ignored
        if matcher is None:
            return
        path = posixpath.normpath(fact.source).replace("//", "/")
        if path in (".", "/") and all(pattern.text not in _EVERYTHING for pattern in matcher.patterns):
            return  # the context itself; ".*" does not mean it
        try:
            ignored = matcher.matches_or_parent(path)
        except PatternError:
            return
        if ignored:
            word = "Add" if fact.instruction.is_add else "Copy"
            message = f'Attempting to {word} file "{path}" that is excluded by .dockerignore'
            yield Finding(message, where(fact.word))
