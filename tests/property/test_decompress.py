# SPDX-License-Identifier: Apache-2.0
"""Whatever a gzip file is made of, its content comes out; whatever is wrong with it, there is an end."""

from __future__ import annotations

import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llbkit.worker.archive.decompress import DecompressedStream, open_gzip
from llbkit.worker.archive.tarread import TarError

CONTENTS = st.lists(st.binary(max_size=400).map(lambda data: data * 50), min_size=1, max_size=4)


def drained(data: bytes, size: int) -> bytes:
    """Return the content of a gzip file, read in pieces of ``size`` bytes, up to what is wrong with it."""
    stream = DecompressedStream(open_gzip(io.BytesIO(data)))
    found = b""
    try:
        while piece := stream.read(size):
            found += piece
    except TarError:
        pass
    return found


@given(CONTENTS, st.integers(0, 9), st.integers(0, 3), st.integers(100, 5000))
def test_all_members_come_out_in_any_pieces(contents, level, zeros, size) -> None:
    data = b"".join(gzip.compress(part, level) + bytes(zeros) for part in contents)
    assert drained(data, size) == b"".join(contents)


@given(
    CONTENTS,
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=3),
    st.integers(0, 10**6),
)
def test_damaged_files_end(contents, flips, cut) -> None:
    data = bytearray(b"".join(gzip.compress(part) for part in contents))
    for at, bits in flips:
        data[at % len(data)] ^= bits
    found = drained(bytes(data[: cut % (len(data) + 1)]), 1000)
    assert len(found) < 1100 * (len(data) + 1)


def test_a_header_with_everything_is_passed_over() -> None:
    plain = gzip.compress(b"content", mtime=0)
    header = b"\x1f\x8b\x08\x1e" + bytes(6) + b"\x03\x00abc" + b"name\0" + b"comment\0" + b"\0\0"
    assert drained(header + plain[10:], 100) == b"content"


def test_an_endless_name_in_a_header_is_refused() -> None:
    """Whoever looked for its end byte by byte in what was read ahead would take quadratic time."""
    member = b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * 10_000_000
    with pytest.raises(TarError, match="name or comment of 512 bytes or more"):
        DecompressedStream(open_gzip(io.BytesIO(member))).read(1)
