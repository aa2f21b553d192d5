# SPDX-License-Identifier: Apache-2.0
"""Directories that file actions make: attributes, limits, and work that is linear in their depth."""

from __future__ import annotations

import os
import stat

import pytest

from llbkit.worker.fs.owners import Owner
from llbkit.worker.fs.writable import KEEP_TIME, WritableRoot


def test_only_what_is_made_gets_attributes(tmp_path) -> None:
    (tmp_path / "there").mkdir(mode=0o700)
    root = WritableRoot(str(tmp_path))
    root.make_directories("there/a/b/c", 0o751, Owner(os.getuid(), os.getgid()), 7_000_000_123)
    for name in ("there/a", "there/a/b", "there/a/b/c"):
        found = (tmp_path / name).stat()
        assert stat.S_IMODE(found.st_mode) == 0o751
        assert found.st_mtime_ns == 7_000_000_123
    assert stat.S_IMODE((tmp_path / "there").stat().st_mode) == 0o700
    assert (tmp_path / "there").stat().st_mtime_ns != 7_000_000_123
    root.make_directories("there/a/b", 0o700, None, 1)
    assert (tmp_path / "there/a/b").stat().st_mtime_ns == 7_000_000_123


def test_work_is_linear_in_the_depth(tmp_path, monkeypatch) -> None:
    """No directory of the chain is looked up from the root: their names together are the path."""
    given = 0

    def counting(real):
        def counted(path, *arguments, **options):
            nonlocal given
            given += len(path) if isinstance(path, str) else 0
            return real(path, *arguments, **options)

        return counted

    for call in ("mkdir", "lchown", "chmod", "utime", "open"):
        monkeypatch.setattr(os, call, counting(getattr(os, call)))
    WritableRoot(str(tmp_path)).make_directories(
        "/".join(["b"] * 1500), 0o755, Owner(os.getuid(), os.getgid()), 5
    )
    assert given < 3 * 3000 + len(str(tmp_path))


def test_a_path_that_nobody_could_read_is_refused(tmp_path) -> None:
    with pytest.raises(OSError, match="too long"):
        WritableRoot(str(tmp_path)).make_directories("/".join(["b"] * 2040), 0o755, None, KEEP_TIME)
    assert os.listdir(tmp_path) == []
