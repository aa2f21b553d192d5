# SPDX-License-Identifier: Apache-2.0
"""Flag values of the form ``key=value,key=value``, quoted as CSV, as docker and buildctl read them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence


class FlagError(Exception):
    """A flag's value cannot be used. ``help`` says what can."""

    def __init__(self, message: str, *, help: str = "") -> None:  # noqa: A002
        super().__init__(message)
        self.help = help


def fields(flag: str, value: str) -> list[str]:
    """Split one CSV record; quotes may hold commas.

    Raises:
        FlagError: the quoting is broken or the value is empty.
    """
    try:
        rows = list(csv.reader([value], strict=True))
    except csv.Error as error:
        raise FlagError(f"{flag} {value!r}: {error}") from error
    if not rows or not rows[0]:
        raise FlagError(f"{flag}: empty value")
    return rows[0]


def pairs(flag: str, parts: Iterable[str], *, bare: Sequence[str] = ()) -> dict[str, str]:
    """Turn ``key=value`` parts into a map with lower-case keys; keys in ``bare`` may stand alone ("").

    Raises:
        FlagError: a part has no ``=``, or a key is given twice.
    """
    out: dict[str, str] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        key = key.strip().lower()
        if not equals and key not in bare:
            raise FlagError(f"{flag}: {part!r} is not of the form key=value")
        if key in out:
            raise FlagError(f"{flag}: duplicate key {key!r}")
        out[key] = value
    return out


def boolean(flag: str, key: str, value: str) -> bool:
    """Read a boolean as Go's ``strconv.ParseBool`` does; an empty value is true.

    Raises:
        FlagError: it is none of the accepted spellings.
    """
    if value in ("", "1", "t", "T", "true", "TRUE", "True"):
        return True
    if value in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise FlagError(f"{flag}: {key}={value!r} is not a boolean", help="use true or false")


_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def size(flag: str, value: str) -> int:
    """Read a size in bytes with an optional binary unit (``64m``, ``1.5GiB``).

    Raises:
        FlagError: it is not a size.
    """
    text = value.strip().lower()
    number = text.rstrip("bkmgti")
    unit = text[len(number) :].removesuffix("b").removesuffix("i")
    try:
        return int(float(number) * _UNITS[unit])
    except (ValueError, KeyError):
        raise FlagError(
            f"{flag}: invalid size {value!r}",
            help="use a number with an optional unit b, k, m or g, e.g. 64m",
        ) from None
