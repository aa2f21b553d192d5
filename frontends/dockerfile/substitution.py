# SPDX-License-Identifier: Apache-2.0
"""``${X#pattern}``, ``${X%pattern}`` and ``${X/pattern/replacement}``: shell patterns on values."""

from __future__ import annotations

import re
from functools import lru_cache

_SPECIAL = frozenset(".+()|{}^$[]")


class SubstitutionError(Exception):
    """A pattern is malformed."""


@lru_cache(maxsize=256)
def _regex(pattern: str, greedy: bool, anchored: bool) -> re.Pattern[str]:
    """Return the regular expression of a shell pattern: ``*`` and ``?``, a backslash takes what follows literally."""
    star = ".*" if greedy else ".*?"
    out = ["^"] if anchored else []
    characters = iter(pattern)
    for char in characters:
        match char:
            case "*":
                out.append(star)
            case "?":
                out.append(".")
            case "\\":
                following = next(characters, None)
                if following is None:
                    raise SubstitutionError("invalid escape '\\\N{REPLACEMENT CHARACTER}'")
                out.append(re.escape(following))
            case _:
                out.append(re.escape(char))
    return re.compile("".join(out), re.DOTALL)


def trim(value: str, pattern: str, suffix: bool, longest: bool) -> str:
    """Remove the shortest or longest match of ``pattern`` from the start, or the end, of ``value``.

    Raises:
        SubstitutionError: the pattern ends with a backslash.
    """
    try:
        if suffix:
            reversed_pattern = _reverse(pattern)
            match = _regex(reversed_pattern, longest, True).match(value[::-1])
            return value[: len(value) - match.end()] if match else value
        match = _regex(pattern, longest, True).match(value)
    except SubstitutionError as error:
        raise SubstitutionError(f"invalid pattern ({pattern}) in substitution: {error}") from None
    return value[match.end() :] if match else value


def _reverse(pattern: str) -> str:
    """Return the pattern that matches reversed texts; escapes stay in front of what they escape."""
    parts: list[str] = []
    characters = iter(pattern)
    for char in characters:
        if char == "\\":
            following = next(characters, None)
            if following is None:
                raise SubstitutionError("invalid escape '\\\N{REPLACEMENT CHARACTER}'")
            parts.append(char + following)
        else:
            parts.append(char)
    return "".join(reversed(parts))


def substitute(value: str, pattern: str, replacement: str, every: bool) -> str:
    """Replace the first match of ``pattern`` by ``replacement`` as it is, or every match by it as a template.

    As in BuildKit, the template of the second form is Go's: ``$name`` is an empty group, ``$$`` a dollar.

    Raises:
        SubstitutionError: the pattern ends with a backslash.
    """
    try:
        regex = _regex(pattern, True, False)
    except SubstitutionError as error:
        raise SubstitutionError(f"invalid pattern ({pattern}) in substitution: {error}") from None
    if every:
        return regex.sub(lambda match: _template(replacement, match), value)
    match = regex.search(value)
    return value[: match.start()] + replacement + value[match.end() :] if match else value


_GROUP = re.compile(r"\$(?:(\$)|\{(\w+)\}|(\w+))")


def _template(template: str, match: re.Match[str]) -> str:
    def group(found: re.Match[str]) -> str:
        if found[1]:
            return "$"
        return match[0] if (found[2] or found[3]) == "0" else ""

    return _GROUP.sub(group, template)
