# SPDX-License-Identifier: Apache-2.0
"""Return whether a single-file build context is an archive to unpack or the Dockerfile itself.

The first `HEAD` bytes tell, as in BuildKit: the magic of bzip2, gzip or xz, or a member that Go's ``archive/tar`` can
read (V7, ustar, STAR, GNU, PAX). A tar archive whose first member needs more than these bytes (a PAX header or a long
name before it) is none, nor is one compressed with zstd.
"""

from __future__ import annotations

HEAD = 1024
_BLOCK = 512
_MAGIC = (b"BZh", b"\x1f\x8b\x08", b"\xfd7zXZ\x00")
_CHECKSUM = slice(148, 156)
_SIZE = slice(124, 136)
_NUMBERS = (slice(100, 108), slice(108, 116), slice(116, 124), _SIZE, slice(136, 148))
_DEVICE = (slice(329, 337), slice(337, 345))
_STAR_TIMES = (slice(476, 488), slice(488, 500))
_OCTAL = frozenset(b"01234567")
_BEFORE_ANOTHER = frozenset(b"xLK")
"""Types of what stands before the member that it describes."""
_WITHOUT_DATA = frozenset(b"123456")


def is_archive(head: bytes) -> bool:
    """Return whether a file whose first `HEAD` bytes are ``head`` is an archive."""
    return head.startswith(_MAGIC) or _is_member(head[:HEAD])


def _is_member(data: bytes) -> bool:
    header, rest = data[:_BLOCK], data[_BLOCK:]
    if len(header) < _BLOCK or not any(header) or not _is_sound(header):
        return False
    kind, size = header[156], _number(header[_SIZE]) or 0
    if size < 0 and kind not in _WITHOUT_DATA:
        return False
    if kind in _BEFORE_ANOTHER:
        return size == 0 and _is_member(rest)
    return kind != ord("g") or (size <= len(rest) and _are_records(rest[:size]))


def _is_sound(header: bytes) -> bool:
    """Return whether the checksum of a header and all its numbers can be read."""
    spaced = header[: _CHECKSUM.start] + b" " * 8 + header[_CHECKSUM.stop :]
    unsigned = sum(spaced)
    signed = unsigned - 256 * sum(byte > 127 for byte in spaced)
    if _octal(header[_CHECKSUM]) not in (unsigned, signed):
        return False
    ustar, gnu = header[257:263] == b"ustar\0", header[257:265] == b"ustar  \0"
    star = ustar and header[508:512] == b"tar\0"
    fields = (*_NUMBERS, *(_DEVICE if ustar or gnu else ()), *(_STAR_TIMES if star else ()))
    return all(_number(header[field]) is not None for field in fields)


def _number(field: bytes) -> int | None:
    """Return a number in octal, or in base 256 if the first bit is set; None if it is neither."""
    if not field[0] & 0x80:
        return _octal(field)
    number = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
    if field[0] & 0x40:
        number -= 1 << (8 * len(field) - 1)
    return number if -(1 << 63) <= number < 1 << 63 else None


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0").partition(b"\0")[0]
    return int(digits or b"0", 8) if _OCTAL.issuperset(digits) else None


def _are_records(data: bytes) -> bool:
    """Return whether all of a text is PAX records: ``LENGTH KEY=VALUE`` and the end of a line."""
    while data:
        length, _, rest = data.partition(b" ")
        if not length.isdigit() or len(length) > 4 or not len(length) + 1 < int(length) <= len(data):
            return False
        record, data = rest[: int(length) - len(length) - 1], data[int(length) :]
        key, equals, _ = record.partition(b"=")
        if not (key and equals and record.endswith(b"\n")):
            return False
    return True
