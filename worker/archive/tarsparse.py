# SPDX-License-Identifier: Apache-2.0
"""Maps of sparse files in tars: the offsets of a file's stored segments. Source: the manual of GNU tar, "Sparse Formats"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

OLD_GNU = b"S"
"""The type flag of the oldest dialect, whose map is in the header and in blocks behind it."""

DIALECTS = frozenset({b"GNU.sparse.map", b"GNU.sparse.major", b"GNU.sparse.size"})
"""PAX records that tell that a file is sparse."""

_LARGEST = (1 << 63) - 1
_SEGMENTS = 1 << 16
_BLOCK = 512


class TarError(ValueError):
    """The stream is not a tar, is truncated, or has impossible values."""


class Segment(NamedTuple):
    """A stored piece of a sparse file: where it begins in the file, and its length, in bytes."""

    offset: int
    length: int


def old_map(header: bytes, more: Callable[[], bytes]) -> tuple[int, list[Segment]]:
    """Return size and map of a file whose header is of the old GNU dialect; ``more`` reads the next block.

    Raises:
        TarError: the map is malformed.
    """
    numbers = _pairs(header[386:482])
    block, flag = header, 482
    while block[flag]:
        block, flag = more(), 504
        numbers += _pairs(block[:504])
        _bound(len(numbers) // 2)
    return _checked(_octal(header[483:495]), numbers)


def pax_map(records: Mapping[bytes, bytes]) -> tuple[int, list[Segment]]:
    """Return size and map of a file whose map is in PAX records (dialects 0.0 and 0.1).

    Raises:
        TarError: the map is malformed.
    """
    text = records.get(b"GNU.sparse.map", b"")
    pieces = text.split(b",", 2 * _SEGMENTS) if text else []
    _bound(len(pieces) // 2)
    return _checked(_size_of(records), [_decimal(piece) for piece in pieces])


def stored_map(records: Mapping[bytes, bytes], more: Callable[[], bytes]) -> tuple[int, list[Segment]]:
    """Return size and map of a file whose map precedes its content (dialect 1.0); ``more`` reads the next block.

    Raises:
        TarError: the map is malformed.
    """
    data, wanted = b"", 1
    lines: list[bytes] = []
    while len(lines) < wanted:
        data += more()
        *found, data = data.split(b"\n")
        if len(data) > _BLOCK:
            raise TarError("malformed sparse map")
        lines += found
        if wanted == 1 and lines:
            count = _decimal(lines[0])
            _bound(count)
            wanted += 2 * count
    return _checked(_size_of(records), [_decimal(line) for line in lines[1:wanted]])


def _size_of(records: Mapping[bytes, bytes]) -> int:
    return _decimal(records.get(b"GNU.sparse.realsize") or records.get(b"GNU.sparse.size") or b"")


def _pairs(data: bytes) -> list[int]:
    """Return the numbers of a block: pairs of 12 bytes each, up to an empty one."""
    numbers: list[int] = []
    for at in range(0, len(data) - 23, 24):
        if not data[at]:
            break
        numbers += (_octal(data[at : at + 12]), _octal(data[at + 12 : at + 24]))
    return numbers


def _octal(text: bytes) -> int:
    if text[:1] == b"\x80":
        return int.from_bytes(text[1:], "big")
    digits = text.strip(b" \0")
    if not digits.isdigit() or not digits.isascii() or max(digits) > ord("7"):
        raise TarError("malformed sparse map")
    return int(digits, 8)


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise TarError("malformed sparse map")
    return int(text)


def _bound(count: int) -> None:
    if count > _SEGMENTS:
        raise TarError(f"sparse map with more than {_SEGMENTS:,} segments")


def _checked(size: int, numbers: list[int]) -> tuple[int, list[Segment]]:
    if len(numbers) % 2 or size > _LARGEST:
        raise TarError("malformed sparse map")
    segments = [Segment(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
    end = 0
    for offset, length in segments:
        if offset < end or offset + length > size:
            raise TarError("malformed sparse map: segments overlap or exceed the file size")
        end = offset + length
    return size, [segment for segment in segments if segment.length]
