# SPDX-License-Identifier: Apache-2.0
"""Go's durations: ``1h15m30.5s``."""

from __future__ import annotations

import re
from decimal import Decimal

_UNITS = {
    "ns": 1,
    "us": 10**3,
    "\u00b5s": 10**3,
    "\u03bcs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([^0-9.]*)")

_LONGEST = 1 << 63
"""Longer than any duration of Go, in nanoseconds."""


def parse_duration(text: str) -> int:
    """Return a duration in nanoseconds, as Go's ``time.ParseDuration``.

    Raises:
        ValueError: it is none; the message is Go's.
    """
    rest = text[1:] if text[:1] in ("-", "+") else text
    sign = -1 if text.startswith("-") else 1
    if rest == "0":
        return 0
    if not rest:
        raise ValueError(f"time: invalid duration {_quoted(text)}")
    total = Decimal(0)
    at = 0
    while at < len(rest):
        match = _PART.match(rest, at)
        if match is None:
            raise ValueError(f"time: invalid duration {_quoted(text)}")
        if not match[2]:
            raise ValueError(f"time: missing unit in duration {_quoted(text)}")
        if match[2] not in _UNITS:
            raise ValueError(f"time: unknown unit {_quoted(match[2])} in duration {_quoted(text)}")
        total += Decimal(match[1]) * _UNITS[match[2]]
        at = match.end()
        if total >= _LONGEST:
            raise ValueError(f"time: invalid duration {_quoted(text)}")
    return sign * int(total)


def _quoted(text: str) -> str:
    """Return a text as Go's time package quotes it."""
    shown = (
        "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
        if not " " <= char < "\x80"
        else f"\\{char}"
        if char in '"\\'
        else char
        for char in text
    )
    return f'"{"".join(shown)}"'
