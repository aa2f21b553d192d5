# SPDX-License-Identifier: Apache-2.0
"""Return whether a single-file build context is an archive to unpack or the program itself.

The first `HEAD` bytes tell, as in BuildKit: the magic of bzip2, gzip or xz, or a member that Go's ``archive/tar`` can
read (V7, ustar, STAR, GNU, PAX). A tar archive whose first member needs more than these bytes (a PAX header or a long
name before it) is none, nor is one compressed with zstd.
"""

from __future__ import annotations

from llbkit.frontends.kit.inputs.tarheader import BLOCK, SIZE, WITHOUT_DATA, is_header, number, records

HEAD = 1024
_MAGIC = (b"BZh", b"\x1f\x8b\x08", b"\xfd7zXZ\x00")
_BEFORE_ANOTHER = frozenset(b"xLK")
"""Types of what stands before the member that it describes."""


def is_archive(head: bytes) -> bool:
    """Return whether a file whose first `HEAD` bytes are ``head`` is an archive."""
    return head.startswith(_MAGIC) or _is_member(head[:HEAD])


def _is_member(data: bytes) -> bool:
    header, rest = data[:BLOCK], data[BLOCK:]
    if len(header) < BLOCK or not any(header) or not is_header(header):
        return False
    kind, size = header[156], number(header[SIZE])
    if size < 0 and kind not in WITHOUT_DATA:
        return False
    if kind in _BEFORE_ANOTHER:
        return size == 0 and _is_member(rest)
    return kind != ord("g") or (size <= len(rest) and _are_records(rest[:size]))


def _are_records(data: bytes) -> bool:
    try:
        return all(True for _ in records(data))
    except ValueError:
        return False
