# SPDX-License-Identifier: Apache-2.0
"""Tar archives put together by hand: headers that no honest writer makes."""

from __future__ import annotations

BLOCK = 512
END = bytes(2 * BLOCK)


def header(
    name: bytes = b"f",
    kind: bytes = b"0",
    size: int | bytes = 0,
    *,
    mode: int | bytes = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    mtime: int | bytes = 1_000_000,
    target: bytes = b"",
    magic: bytes = b"ustar\x0000",
    device: tuple[int | bytes, int | bytes] = (0, 0),
    prefix: bytes = b"",
    tail: bytes | None = None,
) -> bytes:
    """Return a header block with a right checksum. Numbers that octal digits cannot say are written in base 256."""
    block = bytearray(BLOCK)
    for at, width, value in (
        (100, 8, mode), (108, 8, uid), (116, 8, gid), (124, 12, size), (136, 12, mtime), (329, 8, device[0]), (337, 8, device[1]),
    ):  # fmt: skip
        block[at : at + width] = (
            value[:width].ljust(width, b"\0") if isinstance(value, bytes) else _number(value, width)
        )
    block[0:100] = name[:100].ljust(100, b"\0")
    block[156:157] = kind
    block[157:257] = target[:100].ljust(100, b"\0")
    block[257:265] = magic[:8].ljust(8, b"\0")
    block[345:500] = prefix[:155].ljust(155, b"\0")
    if tail is not None:
        block[345:512] = tail[:167].ljust(167, b"\0")
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    """Return data filled up to whole blocks."""
    return data + bytes(-len(data) % BLOCK)


def member(name: bytes, data: bytes = b"", **fields) -> bytes:
    """Return a member with its content."""
    return header(name, size=len(data), **fields) + padded(data)


def record(key: bytes, value: bytes) -> bytes:
    """Return a PAX record."""
    rest = b" %s=%s\n" % (key, value)
    length = len(rest) + len(str(len(rest)))
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return b"%d%s" % (length, rest)


def extension(data: bytes, kind: bytes = b"x", *, claims: int | None = None) -> bytes:
    """Return an extended header; ``claims`` is a size that it does not have."""
    return header(b"PaxHeaders", kind, len(data) if claims is None else claims) + padded(data)


def pax(**records: bytes) -> bytes:
    """Return a PAX header; ``_`` in a key stands for a dot."""
    return extension(
        b"".join(record(key.replace("_", ".").encode(), value) for key, value in records.items())
    )


def sparse_old(name: bytes, real: int, pieces: list[tuple[int, bytes]]) -> bytes:
    """Return a sparse file of the oldest GNU dialect, with as many map blocks as its pieces need."""
    pairs = [b"%011o\0%011o\0" % (offset, len(data)) for offset, data in pieces]
    first, rest = pairs[:4], pairs[4:]
    tail = bytes(41) + b"".join(first).ljust(96, b"\0") + bytes([bool(rest)]) + _number(real, 12)
    blocks = b""
    while rest:
        some, rest = rest[:21], rest[21:]
        blocks += b"".join(some).ljust(504, b"\0") + bytes([bool(rest)]) + bytes(7)
    content = b"".join(data for _, data in pieces)
    return header(name, b"S", len(content), magic=b"ustar  \0", tail=tail) + blocks + padded(content)


def sparse_pax(name: bytes, real: int, pieces: list[tuple[int, bytes]], dialect: str) -> bytes:
    """Return a sparse file of dialect "0.0", "0.1" or "1.0"."""
    content = b"".join(data for _, data in pieces)
    numbers = [b"%d" % number for offset, data in pieces for number in (offset, len(data))]
    size = record(b"GNU.sparse.size", b"%d" % real)
    if dialect == "0.0":
        keys = [b"GNU.sparse.offset", b"GNU.sparse.numbytes"] * len(pieces)
        records = size + b"".join(map(record, keys, numbers))
    elif dialect == "0.1":
        records = size + record(b"GNU.sparse.map", b",".join(numbers)) + record(b"GNU.sparse.name", name)
    else:
        records = record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.minor", b"0")
        records += record(b"GNU.sparse.name", name) + record(b"GNU.sparse.realsize", b"%d" % real)
        content = padded(b"".join(line + b"\n" for line in (b"%d" % len(pieces), *numbers))) + content
    return extension(records) + member(name if dialect == "0.0" else b"GNUSparseFile.0/x", content)


def _number(value: int, width: int) -> bytes:
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    data = bytearray((value % (1 << (8 * width))).to_bytes(width, "big"))
    data[0] = 0xFF if value < 0 else 0x80 | (data[0] & 0x7F)
    return bytes(data)
