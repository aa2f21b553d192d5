# SPDX-License-Identifier: Apache-2.0
"""The numbers of a HEALTHCHECK."""

from __future__ import annotations

from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.kit.golang.durations import parse_duration
from llbkit.frontends.kit.golang.quote import go_quote
from llbkit.frontends.kit.golang.text import read_int

_SHORTEST = 1_000_000
"""The shortest time of a health check that is not 0, in nanoseconds."""


def read_time(name: str, text: str) -> int:
    """Return the time of a HEALTHCHECK flag in nanoseconds, 0 if it is not given.

    Raises:
        ProgramError: not a duration, or shorter than a millisecond.
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
        ProgramError: not a number, or negative.
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
