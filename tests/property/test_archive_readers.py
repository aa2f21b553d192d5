# SPDX-License-Identifier: Apache-2.0
"""The two readers of archives, the frontend's and the worker's, find the same in the same archives, as Python's do."""

from __future__ import annotations

import gzip
import io
import random
import struct
import tarfile
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llbkit.frontends.kit.inputs.archive import is_archive
from llbkit.frontends.kit.inputs.archive_times import ArchiveError, newest_time
from llbkit.worker.archive.compress import CompressionError, Decompressed
from llbkit.worker.archive.decompress import DecompressedStream, open_gzip
from llbkit.worker.archive.tarread import TarError, TarReader

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
TIMES = st.integers(-(1 << 33), 1 << 34) | st.integers(-(1 << 20), 1 << 34).map(lambda quarters: quarters / 4)
MEMBERS = st.lists(
    st.tuples(
        st.text("ab/é", min_size=1, max_size=200), TIMES, st.sampled_from("0125"), st.binary(max_size=700)
    ),
    max_size=5,
)


def archive(members: list[tuple[str, float, str, bytes]], form: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, encoding="utf-8") as tar:
        for name, time, kind, data in members:
            made = tarfile.TarInfo(name.strip("/") or "x")
            made.type, made.linkname = kind.encode(), "t" if kind in "12" else ""
            made.mtime = time if form == tarfile.PAX_FORMAT else int(time)
            if form == tarfile.USTAR_FORMAT:
                made.mtime, made.name = max(0, min(made.mtime, 8**11 - 1)), made.name[:50]
            made.size = len(data) if kind == "0" else 0
            tar.addfile(made, io.BytesIO(data))
    return buffer.getvalue()


def newest_unpacked(data: bytes) -> int | None:
    """Return what `newest_time` returns, by the worker's reader."""
    return max(
        (each.mtime_ns // 10**9 for each in TarReader(io.BytesIO(data).read) if each.kind == b"0"),
        default=None,
    )


@settings(deadline=None)
@given(MEMBERS, st.sampled_from(FORMATS))
def test_both_readers_find_the_same_times(members: list[tuple[str, float, str, bytes]], form: int) -> None:
    data = archive(members, form)
    assert newest_time(io.BytesIO(data)) == newest_unpacked(data)
    assert is_archive(data[:1024]) or not members or data[156:157] in (b"x", b"L")


@settings(deadline=None, max_examples=300)
@given(
    MEMBERS,
    st.sampled_from(FORMATS),
    st.lists(st.tuples(st.integers(0, 511), st.integers(0, 255)), max_size=2),
)
def test_both_readers_refuse_the_same_first_headers(
    members: list[tuple[str, float, str, bytes]], form: int, flips: list[tuple[int, int]]
) -> None:
    """A byte of the first header is another one, and the checksum right again."""
    data = bytearray(archive([*members, ("last", 1, "0", b"")], form))
    for at, byte in flips:
        if not (148 <= at < 157 or at in (*range(124, 136), *range(257, 265))):
            data[at] = byte
    spaced = data[:148] + b" " * 8 + data[156:512]
    data[148:156] = b"%06o\0 " % sum(spaced)
    try:
        seen = newest_time(io.BytesIO(data))
    except ArchiveError:
        seen = None
    try:
        unpacked = newest_unpacked(bytes(data))
    except TarError:
        return  # it refuses more: owners, device numbers and names that nothing can have
    assert seen == unpacked


@pytest.mark.parametrize("text", [b"0o17", b"1_0", b"-7", b"+7", b"0x1", b"08", "٣".encode()])
def test_numbers_are_octal_digits_and_nothing_else(text: bytes) -> None:
    data = bytearray(archive([("a", 1, "0", b"")], tarfile.USTAR_FORMAT))
    data[136:148] = text.ljust(12, b"\0")
    data[148:156] = b"%06o\0 " % sum(data[:148] + b" " * 8 + data[156:512])
    assert not is_archive(bytes(data[:1024]))
    assert newest_time(io.BytesIO(data)) is None
    with pytest.raises(TarError):
        newest_unpacked(bytes(data))


# -- gzip


def drained(read: Callable[[int], bytes], size: int) -> bytes:
    return b"".join(iter(lambda: read(size), b""))


def layer(data: bytes, size: int) -> bytes:
    with Decompressed(io.BytesIO(data)) as content:
        return drained(content.read, size)


def unpacked(data: bytes, size: int) -> bytes:
    return drained(DecompressedStream(open_gzip(io.BytesIO(data))).read, size)


def member(content: bytes, flags: int, *, flushed: bool = False) -> bytes:
    made = zlib.compressobj(1, zlib.DEFLATED, -15)
    body = made.compress(content)
    if flushed:  # blocks without content
        body += made.flush(zlib.Z_SYNC_FLUSH) + made.flush(zlib.Z_FULL_FLUSH)
    head = b"\x1f\x8b\x08" + bytes([flags]) + bytes(6)
    if flags & 4:
        head += struct.pack("<H", 6) + b"BC\2\0\x1b\0"
    head += b"name\0" * bool(flags & 8) + b"comment\0" * bool(flags & 16)
    if flags & 2:
        head += struct.pack("<H", zlib.crc32(head) & 0xFFFF)
    return head + body + made.flush() + struct.pack("<LL", zlib.crc32(content), len(content))


PIECES = st.builds(
    lambda content, flags, flushed, zeros: member(content, flags, flushed=flushed) + bytes(zeros),
    st.sampled_from([b"", b"", b"a", b"hello" * 10, random.Random(1).randbytes(150_000)]),
    st.sampled_from([0, 2, 4, 8, 16, 30]), st.booleans(), st.sampled_from([0, 0, 0, 1, 600]),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=6), st.sampled_from([7, 512, 1 << 20]))
def test_empty_members_and_all_others_are_read(pieces: list[bytes], size: int) -> None:
    data = b"".join(pieces)
    expected = gzip.decompress(data)
    assert layer(data, size) == expected
    assert unpacked(data, size) == expected


def test_an_archive_among_empty_members_is_read_by_all() -> None:
    content = archive([("a", 5, "0", b"x" * 2000)], tarfile.PAX_FORMAT)
    empty = member(b"", 4)
    data = empty + member(content[:700], 0) + empty * 3000 + member(content[700:], 8) + empty
    assert newest_time(io.BytesIO(data)) == 5
    assert layer(data, 1 << 20) == unpacked(data, 1 << 20) == content


@pytest.mark.parametrize("cut", range(1, 18, 4))
def test_a_cut_empty_member_is_an_error(cut: int) -> None:
    data = member(b"content", 0) + member(b"", 0)[:-cut]
    with pytest.raises(CompressionError):
        layer(data, 1 << 20)
    with pytest.raises(TarError):
        unpacked(data, 1 << 20)


def test_a_layer_may_begin_with_a_frame_that_zstd_skips() -> None:
    import zstandard

    data = b"\x50\x2a\x4d\x18" + struct.pack("<L", 3) + b"abc" + zstandard.compress(b"content")
    assert layer(data, 100) == b"content"
