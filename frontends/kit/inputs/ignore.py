# SPDX-License-Identifier: Apache-2.0
"""Reading ``.dockerignore``; matching is in `llbkit.grammar.patterns.match`, which the worker shares."""

from __future__ import annotations

from llbkit.grammar.patterns.match import SPACE, PatternError, clean_path

MAX_LINE = 65536
"""A line of this many bytes is refused, as BuildKit's reader does."""


def read_patterns(text: str) -> list[str]:
    """Return the patterns of an ignore file: comments and blank lines dropped, paths made relative and clean.

    Raises:
        PatternError: A line is longer than BuildKit reads, or is not UTF-8, so that no graph can hold it.
    """
    patterns = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if len(line) * 4 >= MAX_LINE and len(line.encode("utf-8", "surrogateescape")) >= MAX_LINE:
            raise PatternError("bufio.Scanner: token too long")
        pattern = "" if line.startswith("#") else line.strip(SPACE)
        if any("\ud800" <= char <= "\udfff" for char in pattern):
            raise PatternError(f"line {number} is not UTF-8")
        if pattern:
            patterns.append(_normalise(pattern))
    return patterns


def _normalise(pattern: str) -> str:
    if pattern.startswith("!"):
        rest = pattern[1:].strip(SPACE)
        return f"!{_relative(rest)}" if rest else "!"
    return _relative(pattern)


def _relative(pattern: str) -> str:
    cleaned = clean_path(pattern)
    return cleaned[1:] if len(cleaned) > 1 and cleaned[0] == "/" else cleaned
