# SPDX-License-Identifier: Apache-2.0
"""How many calls the copy of a file takes: of twenty thousand files each one counts."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from llbkit.worker.fs import bytescopy
from llbkit.worker.fs.bytescopy import BytesCopier

CALLS = ("copy_file_range", "fstat", "lseek", "read", "write")


class _Counted:
    """The module ``os`` as the copier sees it, counting what it calls."""

    def __init__(self, *, ranges: bool) -> None:
        self.calls: list[str] = []
        self._ranges = ranges

    def __getattr__(self, name: str) -> object:
        value = getattr(os, name)
        if name not in CALLS:
            return value

        def call(*arguments: object) -> object:
            self.calls.append(name)
            if name == "copy_file_range" and not self._ranges:
                raise OSError(errno.EXDEV, "")
            return value(*arguments)

        return call


def _copy(copier: BytesCopier, source: Path, target: Path, status: os.stat_result | None) -> bytes:
    with source.open("rb", buffering=0) as reader, target.open("xb", buffering=0) as writer:
        copier.copy(reader.fileno(), writer.fileno(), status)
    return target.read_bytes()


@pytest.mark.parametrize("ranges", [True, False])
def test_what_is_known_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranges: bool
) -> None:
    (tmp_path / "a").write_bytes(b"content")
    counted = _Counted(ranges=ranges)
    monkeypatch.setattr(bytescopy, "os", counted)
    monkeypatch.setattr(BytesCopier, "_cloned", lambda self, source, out: False)
    copier = BytesCopier()
    for number in range(3):
        counted.calls.clear()
        assert _copy(copier, tmp_path / "a", tmp_path / f"b{number}", (tmp_path / "a").stat()) == b"content"
    assert counted.calls == (["copy_file_range"] if ranges else ["read", "write"])
    _copy(copier, tmp_path / "a", tmp_path / "last", None)
    assert counted.calls.count("fstat") == 1


def test_a_file_that_shrank_ends_early_and_one_that_grew_at_its_known_size(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"0123456789")
    status = source.stat()
    source.write_bytes(b"0123")
    assert _copy(BytesCopier(), source, tmp_path / "shrunk", status) == b"0123"
    source.write_bytes(b"0123456789abcdef")
    assert _copy(BytesCopier(), source, tmp_path / "grown", status)[:10] == b"0123456789"


def test_holes_stay_where_they_are(tmp_path: Path) -> None:
    source = tmp_path / "a"
    with source.open("wb") as file:
        file.seek(3 << 20)
        file.write(b"middle")
        file.truncate(8 << 20)
    assert _copy(BytesCopier(), source, tmp_path / "b", source.stat()) == source.read_bytes()
    assert (tmp_path / "b").stat().st_blocks * 512 < 1 << 20
