# SPDX-License-Identifier: Apache-2.0
"""Values as Go parses and formats them: booleans, integers, lists, durations, times."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from math import isfinite

from llbkit.frontends.kit.golang.quote import go_quote

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_DECIMAL = re.compile(r"[+-]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:e[+-]?[0-9][0-9_]*)?", re.IGNORECASE)
_HEXADECIMAL = re.compile(r"[+-]?0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)p[+-]?[0-9]+", re.IGNORECASE)
_SIGNED = re.compile(r"[+-]?[0-9]+")
_INTEGER = {8: re.compile(r"[0-7]+"), 10: re.compile(r"[0-9]+")}


def parse_bool(text: str) -> bool | None:
    """Return what Go's ``strconv.ParseBool`` does; None where it fails."""
    if text in _TRUE:
        return True
    return False if text in _FALSE else None


def parse_uint(text: str, base: int = 10, bits: int = 64) -> int | None:
    """Return what Go's ``strconv.ParseUint`` does; None where it fails."""
    if not _INTEGER[base].fullmatch(text):
        return None
    # Longer ones do not fit; Python refuses to read the longest at all.
    digits = text.lstrip("0")
    value = int(digits or "0", base) if len(digits) <= bits else 1 << bits
    return value if value < 1 << bits else None


def parse_int(text: str, bits: int = 64) -> int | None:
    """Return what Go's ``strconv.ParseInt`` in base 10 does; None where it fails."""
    magnitude = parse_uint(text[1:] if text[:1] in ("+", "-") else text, 10, 64)
    if magnitude is None:
        return None
    value = -magnitude if text.startswith("-") else magnitude
    return value if -(1 << (bits - 1)) <= value < 1 << (bits - 1) else None


def read_int(text: str, bits: int = 64) -> int:
    """Return what Go's ``strconv.ParseInt`` in base 10 does.

    Raises:
        ValueError: with Go's message.
    """
    value = parse_int(text, bits)
    if value is None:
        raise _number_error("ParseInt", text, _SIGNED)
    return value


def read_uint(text: str, bits: int = 64) -> int:
    """Return what Go's ``strconv.ParseUint`` in base 10 does.

    Raises:
        ValueError: with Go's message.
    """
    value = parse_uint(text, bits=bits)
    if value is None:
        raise _number_error("ParseUint", text, _INTEGER[10])
    return value


def _number_error(function: str, text: str, form: re.Pattern[str]) -> ValueError:
    cause = "value out of range" if form.fullmatch(text) else "invalid syntax"
    return ValueError(f"strconv.{function}: parsing {go_quote(text)}: {cause}")


def parse_float(text: str) -> float | None:
    """Return what Go's ``strconv.ParseFloat`` does of a finite number; None where it fails."""
    read = float if _DECIMAL.fullmatch(text) else float.fromhex if _HEXADECIMAL.fullmatch(text) else None
    if read is None:
        return None
    try:
        value = read(text)
    except (ValueError, OverflowError):
        return None
    return value if isfinite(value) else None


def quoted_list(items: Iterable[str]) -> str:
    """Return a list as ``%q`` prints it: ``["a" "b"]``."""
    return "[" + " ".join(map(go_quote, items)) + "]"


def plain_list(items: Iterable[str]) -> str:
    """Return a list as ``%v`` prints it: ``[a b]``."""
    return "[" + " ".join(items) + "]"


def format_duration(nanoseconds: int) -> str:
    """Return a duration as Go prints it: ``1h30m0s``, ``1.5s``, ``250ms``."""
    sign, value = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if value == 0:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 10**3), ("ms", 10**6)):
        if value < size * 1000:
            return f"{sign}{_fraction(value, size)}{unit}"
    minutes, rest = divmod(value, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    out = f"{_fraction(rest, 10**9)}s"
    if hours or minutes:
        out = f"{minutes}m{out}"
    return sign + (f"{hours}h{out}" if hours else out)


def _fraction(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = str(rest).rjust(len(str(unit)) - 1, "0").rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)


def format_time(moment: datetime) -> str:
    """Return a time as Go's JSON encoder does (RFC 3339, ``Z`` for UTC, fraction without trailing zeros)."""
    text = moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    if moment.microsecond:
        text += f".{moment.microsecond:06d}".rstrip("0")
    offset = moment.utcoffset()
    minutes = int(offset.total_seconds() // 60) if offset is not None else 0
    if minutes == 0:
        return text + "Z"
    return f"{text}{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
