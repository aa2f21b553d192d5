# SPDX-License-Identifier: Apache-2.0
"""RFC 3339 times to the nanosecond, written as Go does: trailing zeros of the fraction are dropped."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)")


def parse(text: str) -> int | None:
    """Return nanoseconds since 1970, None if ``text`` is not an RFC 3339 time."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    try:
        seconds = datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None
    return int(seconds) * 1_000_000_000 + int((match[2] or "0").ljust(9, "0"))


def write(nanoseconds: int) -> str:
    """Return a time in UTC."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    digits = f".{fraction:09d}".rstrip("0").rstrip(".")
    return f"{text}{digits}Z"


def normal(text: str) -> str:
    """Return a time as Go would write it again after reading it; other text unchanged."""
    match = _TIME.fullmatch(text)
    if match is None:
        return text
    fraction = (match[2] or "").rstrip("0")
    zone = "Z" if match[3] in ("Z", "+00:00") else match[3]
    return match[1] + (f".{fraction}" if fraction else "") + zone
