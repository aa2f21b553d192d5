# SPDX-License-Identifier: Apache-2.0
r"""Wildcard paths: ``* ? [a-z] [^a] \x`` inside one component, as in Go's ``filepath.Match``.

A component is read once into tokens; from these come the matcher of names, and the pattern that means the same to
`llbkit.grammar.patterns.match`. Matching is linear in the name for every ``*``, whatever the pattern: a shortest match of what stands
between two ``*`` is never reconsidered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from llbkit.grammar.patterns.match import SPACE, has_wildcard
from llbkit.worker.base import SourceError

_CLASS = re.compile(r"(\^?)((?:\\.|[^\\\]])+)\]", re.DOTALL)
_SPECIAL = frozenset("*?[]\\^")


class _Token(NamedTuple):
    """A regular expression for one character, and the same as a pattern; both empty for ``*``."""

    regex: str = ""
    pattern: str = ""


_STAR = _Token()


def split_wildcards(path: str) -> tuple[list[str], list[str]]:
    """Return the components before the first one with a wildcard, which are names, and the others, which are matched."""
    parts = path.split("/")
    first = next((at for at, part in enumerate(parts) if has_wildcard(part)), len(parts))
    return parts[:first], parts[first:]


def component_matcher(component: str) -> re.Pattern[str]:
    r"""Return what matches the names that one component of a wildcard path stands for; use its ``fullmatch``.

    Raises:
        SourceError: it is malformed.
    """
    segments = [""]
    for token in _tokens(component):
        if token is _STAR:
            segments.append("")
        else:
            segments[-1] += token.regex
    first, *others = segments
    middle = "".join(f"(?>[^/]*?{segment})" for segment in others[:-1] if segment)
    last = f"[^/]*{others[-1]}" if others else ""
    try:
        return re.compile(first + middle + last, re.DOTALL)
    except re.error as error:
        raise SourceError(f"malformed wildcard {component!r}", help="check the character range") from error


def as_pattern(component: str) -> str:
    """Return the pattern of ``llbkit.grammar.patterns.match`` that matches the same names, but for its ends (`whole_pattern`).

    Raises:
        SourceError: it is malformed.
    """
    found: list[str] = []
    for token in _tokens(component):
        if token is not _STAR:
            found.append(token.pattern)
        elif found[-1:] != ["*"]:
            found.append("*")
    return "".join(found)


def literal_pattern(path: str) -> str:
    """Return the pattern of ``llbkit.grammar.patterns.match`` that matches ``path`` alone, but for its ends (`whole_pattern`)."""
    return "".join(_literal(char) if char != "/" else char for char in path)


def whole_pattern(parts: Iterable[str]) -> str:
    """Join patterns of components. An exclamation mark and white space at the ends are made to mean themselves."""
    out = "/".join(parts)
    if out.startswith("!"):
        out = "\\" + out
    # White space at the ends of a pattern is trimmed, even after a backslash.
    if out and out[0] in SPACE:
        out = f"[{out[0]}]{out[1:]}"
    return f"{out[:-1]}[{out[-1]}]" if out and out[-1] in SPACE else out


def _literal(char: str) -> str:
    return f"\\{char}" if char in _SPECIAL else char


@lru_cache(maxsize=256)
def _tokens(component: str) -> tuple[_Token, ...]:
    out: list[_Token] = []
    i = 0
    while i < len(component):
        char = component[i]
        i += 1
        if char == "*":
            out.append(_STAR)
        elif char == "?":
            out.append(_Token("[^/]", "?"))
        elif char == "[":
            found = _CLASS.match(component, i)
            if found is None:
                raise SourceError(
                    f"malformed wildcard {component!r}", help="close the bracket, or escape it with \\"
                )
            members = re.sub(r"(?<!\\)([\[&~|^])", r"\\\1", found.group(2))
            pattern = re.sub(r"(?<!\\)([*?])", r"\\\1", found.group(0))
            out.append(_Token(f"[{found.group(1)}{members}]", f"[{pattern}"))
            i = found.end()
        else:
            if char == "\\" and i < len(component):
                char = component[i]
                i += 1
            out.append(_Token(re.escape(char), _literal(char)))
    return tuple(out)
