# SPDX-License-Identifier: Apache-2.0
"""Tars: what Python's tarfile writes is read as it was meant, and no bytes do more than raise `TarError`."""

from __future__ import annotations

import contextlib
import io
import tarfile

from hypothesis import given, settings
from hypothesis import strategies as st

from llbkit.worker.archive.tarread import Entry, TarError, TarReader

names = st.text(
    st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=120
).filter(lambda name: name not in (".", ".."))
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
values = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30)


@st.composite
def members(draw) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(draw(paths))
    made.type = draw(
        st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
    )
    made.mode = draw(st.integers(0, 0o7777))
    made.uid, made.gid = draw(st.integers(0, (1 << 32) - 2)), draw(st.integers(0, (1 << 32) - 2))
    made.mtime = draw(st.one_of(st.integers(0, 1 << 40), st.integers(-(1 << 33), 0)))
    data = b""
    if made.type == tarfile.REGTYPE:
        data = draw(st.binary(max_size=1500))
        made.size = len(data)
    if made.type in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        made.linkname = draw(paths)
    if made.type == tarfile.CHRTYPE:
        made.devmajor, made.devminor = draw(st.integers(0, 4095)), draw(st.integers(0, (1 << 20) - 1))
    return made, data


def in_pieces(data: bytes, size: int):
    stream = io.BytesIO(data)
    return lambda wanted: stream.read(min(wanted, size))


def read(source) -> list[tuple[Entry, bytes]]:
    reader = TarReader(source)
    found = []
    for entry in reader:
        content = b"".join(iter(lambda: reader.read(700), b""))
        found.append((entry, content))
    return found


@settings(deadline=None, max_examples=150)
@given(
    items=st.lists(members(), max_size=6),
    form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    piece=st.integers(1, 2000),
    xattrs=st.dictionaries(values.filter(lambda key: "=" not in key), values, max_size=2),
)
def test_what_tarfile_writes_is_read(items, form, piece, xattrs) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, encoding="utf-8") as tar:
        for made, data in items:
            if form == tarfile.PAX_FORMAT:
                made.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in xattrs.items()}
            tar.addfile(made, io.BytesIO(data))
    found = read(in_pieces(buffer.getvalue(), piece))
    assert len(found) == len(items)
    for (entry, content), (made, data) in zip(found, items, strict=True):
        assert entry.name.rstrip("/") == made.name
        assert (entry.kind, entry.mode, entry.uid, entry.gid) == (made.type, made.mode, made.uid, made.gid)
        assert (entry.mtime_ns, entry.target, content) == (made.mtime * 10**9, made.linkname, data)
        assert (entry.major, entry.minor) == (made.devmajor, made.devminor)
        if form == tarfile.PAX_FORMAT:
            assert entry.xattrs == {key: value.encode() for key, value in xattrs.items()}


@settings(deadline=None, max_examples=200)
@given(data=st.data(), items=st.lists(members(), min_size=1, max_size=3))
def test_damaged_tars_raise_tar_errors_only(data, items) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8") as tar:
        for made, content in items:
            tar.addfile(made, io.BytesIO(content))
    damaged = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    del damaged[data.draw(st.integers(0, len(damaged))) :]
    with contextlib.suppress(TarError):
        read(in_pieces(bytes(damaged), 4096))


@settings(deadline=None)
@given(st.binary(max_size=3000))
def test_any_bytes_raise_tar_errors_only(data) -> None:
    with contextlib.suppress(TarError):
        assert read(in_pieces(data, 100)) == [] or len(data) >= 512
