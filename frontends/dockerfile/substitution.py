# SPDX-License-Identifier: Apache-2.0
r"""``${X#pattern}``, ``${X%pattern}`` and ``${X/pattern/replacement}``: shell patterns on values.

``*`` and ``?`` are wildcards that do not cross a line end, a backslash may stand before them, itself, ``/`` and
``}`` and nothing else. There are no bracket expressions.
"""

from __future__ import annotations

import re
from functools import lru_cache


class SubstitutionError(Exception):
    """A pattern is malformed."""


@lru_cache(maxsize=256)
def _regex(pattern: str, greedy: bool, anchored: bool) -> re.Pattern[str]:
    star = ".*" if greedy else ".*?"
    out = [r"\A"] if anchored else []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "\\":
            char = pattern[at : at + 1]
            at += 1
            if not char or char not in r"*?\/}":
                shown = char or "\N{REPLACEMENT CHARACTER}"
                raise SubstitutionError(
                    f"invalid pattern ({pattern}) in substitution: invalid escape '\\{shown}'"
                )
            out.append(re.escape(char))
        else:
            out.append({"*": star, "?": "."}.get(char) or re.escape(char))
    return re.compile("".join(out))


def trim(value: str, pattern: str, suffix: bool, longest: bool) -> str:
    """Remove the shortest or longest match of ``pattern`` from the start, or the end, of ``value``.

    Raises:
        SubstitutionError: The pattern has a wrong escape.
    """
    if suffix:
        return trim(value[::-1], _reverse(pattern), False, longest)[::-1]
    match = _regex(pattern, longest, True).match(value)
    return value[match.end() :] if match else value


_PATTERN_ITEM = re.compile(r"\\.|.", re.DOTALL)


def _reverse(pattern: str) -> str:
    """Return the pattern that matches reversed texts; escapes stay in front of what they escape."""
    return "".join(reversed(_PATTERN_ITEM.findall(pattern)))


def substitute(value: str, pattern: str, replacement: str, every: bool) -> str:
    """Replace the first match of ``pattern`` by ``replacement`` as it is, or every match by it as a template.

    As in BuildKit, the template of the second form is Go's: ``$name`` is an empty group, ``$0`` the match, ``$$``
    a dollar.

    Raises:
        SubstitutionError: The pattern has a wrong escape.
    """
    regex = _regex(pattern, True, False)
    if every:
        return _replace_all(regex, value, replacement)
    match = regex.search(value)
    return value[: match.start()] + replacement + value[match.end() :] if match else value


def _replace_all(regex: re.Pattern[str], value: str, template: str) -> str:
    """Replace as Go does: an empty match right after the last match does not count."""
    out: list[str] = []
    last = search = 0
    while search <= len(value) and (match := regex.search(value, search)):
        start, end = match.span()
        out.append(value[last:start])
        if end > last or start == 0:
            out.append(_fill(template, match[0]))
        last = end
        search = end if end > start else end + 1
    return "".join((*out, value[last:]))


_GROUP = re.compile(r"\$(?:(\$)|\{(\w+)\}|(\w+))")


def _fill(template: str, match: str) -> str:
    def group(found: re.Match[str]) -> str:
        if found[1]:
            return "$"
        return match if (found[2] or found[3]) == "0" else ""

    return _GROUP.sub(group, template)
