# SPDX-License-Identifier: Apache-2.0
"""Pieces of protobuf messages, written byte by byte."""

from __future__ import annotations

from collections.abc import Mapping


def string_map(number: int, entries: Mapping[str, str]) -> bytes:
    """Return a map field from strings to strings, keys in order."""
    return b"".join([entry(number, key, entries[key].encode()) for key in sorted(entries)])


def entry(number: int, key: str, value: bytes) -> bytes:
    """Return one entry of a map from strings to strings or messages."""
    return delimited(number, delimited(1, key.encode()) + delimited(2, value))


def delimited(number: int, payload: bytes) -> bytes:
    """Return a length-delimited field."""
    size = len(payload)
    if number < 16 and size < 128:
        return bytes((number << 3 | 2, size)) + payload
    return varint(number << 3 | 2) + varint(size) + payload


def varint(value: int) -> bytes:
    """Return a number that is not negative as a varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
