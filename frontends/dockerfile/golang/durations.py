# SPDX-License-Identifier: Apache-2.0
"""Go's durations, ``1h15m30.5s``, and the numbers of a HEALTHCHECK."""

from __future__ import annotations

import re
from decimal import Decimal

from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.golang.text import read_int
from llbkit.frontends.dockerfile.syntax.ast import go_quote

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

_SHORTEST = 1_000_000
"""The shortest time of a health check that is not 0, in nanoseconds."""


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


def format_duration(nanoseconds: int) -> str:
    """Return a duration of at least a millisecond, or none, as Go prints it: ``1m0s``, ``1.5s``, ``250ms``, ``0s``."""
    if 0 < nanoseconds < _UNITS["s"]:
        return f"{_trimmed(nanoseconds, _UNITS['ms'])}ms"
    minutes, rest = divmod(nanoseconds, _UNITS["m"])
    out = f"{_trimmed(rest, _UNITS['s'])}s"
    if minutes:
        out = f"{minutes % 60}m{out}"
    return f"{minutes // 60}h{out}" if minutes >= 60 else out


def _trimmed(value: int, unit: int) -> str:
    return f"{(Decimal(value) / unit).normalize():f}"


def read_time(name: str, text: str) -> int:
    """Return the time of a HEALTHCHECK flag in nanoseconds, 0 if it is not given.

    Raises:
        DockerfileError: not a duration, or shorter than a millisecond.
    """
    if not text:
        return 0
    try:
        value = parse_duration(text)
    except ValueError as error:
        raise errors.arguments(str(error), "write for example 30s or 1m30s") from None
    if value and value < _SHORTEST:
        raise errors.arguments(f"Interval {go_quote(name)} cannot be less than 1ms")
    return value


def read_retries(text: str) -> int:
    """Return the retries of a HEALTHCHECK, 0 if they are not given.

    Raises:
        DockerfileError: not a number, or negative.
    """
    if not text:
        return 0
    try:
        value = read_int(text, 32)
    except ValueError as error:
        raise errors.arguments(str(error), "write a number") from None
    if value < 0:
        raise errors.arguments(f"--retries cannot be negative ({value})")
    return value
