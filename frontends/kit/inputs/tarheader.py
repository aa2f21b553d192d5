# SPDX-License-Identifier: Apache-2.0
"""Tar headers and PAX records as Go's ``archive/tar`` reads them, for what the frontend asks of archives.

The worker has a reader of its own (`llbkit.worker.archive.tarread`), for unpacking. The two cannot be one: a frontend works with
whatever engine is behind its bridge, and neither package knows the other. This one needs no names, owners or content, and
must say "no archive" exactly where BuildKit's frontend does. A property test gives both the same archives.
"""

from __future__ import annotations

from collections.abc import Iterator

BLOCK = 512
CHECKSUM = slice(148, 156)
SIZE = slice(124, 136)
TIME = slice(136, 148)
WITHOUT_DATA = frozenset(b"123456")
"""Types of members whose size means nothing."""

_NUMBERS = (slice(100, 108), slice(108, 116), slice(116, 124), SIZE, TIME)
_DEVICE = (slice(329, 337), slice(337, 345))
_STAR_TIMES = (slice(476, 488), slice(488, 500))
_OCTAL = frozenset(b"01234567")
_LENGTH_DIGITS = 8
"""The longest header has a length of seven digits."""


def is_header(block: bytes) -> bool:
    """Return whether a block is a header: checksum, counted with or without a sign, and numbers can be read."""
    spaced = block[: CHECKSUM.start] + b" " * 8 + block[CHECKSUM.stop :]
    unsigned = sum(spaced)
    signed = unsigned - 256 * sum(byte > 127 for byte in spaced)
    if _octal(block[CHECKSUM]) not in (unsigned, signed):
        return False
    ustar, gnu = block[257:263] == b"ustar\0", block[257:265] == b"ustar  \0"
    star = ustar and block[508:512] == b"tar\0"
    fields = (*_NUMBERS, *(_DEVICE if ustar or gnu else ()), *(_STAR_TIMES if star else ()))
    return all(_number(block[field]) is not None for field in fields)


def number(field: bytes) -> int:
    """Return a number of a block for which `is_header` holds."""
    return _number(field) or 0


def _number(field: bytes) -> int | None:
    """Return a number in octal, or in base 256 if the first bit is set; None if it is neither."""
    if not field[0] & 0x80:
        return _octal(field)
    value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
    if field[0] & 0x40:
        value -= 1 << (8 * len(field) - 1)
    return value if -(1 << 63) <= value < 1 << 63 else None


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0").partition(b"\0")[0]
    return int(digits or b"0", 8) if _OCTAL.issuperset(digits) else None


def records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give the PAX records of a header, ``LENGTH KEY=VALUE`` and the end of a line each.

    Raises:
        ValueError: what follows is none.
    """
    start = 0
    while start < len(data):
        space = data.find(b" ", start, start + _LENGTH_DIGITS + 1)
        length = data[start:space] if space > start else b""
        if not length.isdigit() or not len(length) + 1 < int(length) <= len(data) - start:
            raise ValueError("invalid PAX record")
        end = start + int(length)
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not (key and equals) or data[end - 1 : end] != b"\n":
            raise ValueError("invalid PAX record")
        yield key, value
        start = end
