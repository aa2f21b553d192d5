# SPDX-License-Identifier: Apache-2.0
"""The contract of `llbkit.worker.session.base.Session`, run on every implementation."""

from __future__ import annotations

import os
import stat

import pytest

from llbkit.worker.base import SourceError, WorkerError
from llbkit.worker.session.base import PathFilters
from llbkit.worker.session.local import LocalSession


def unreadable() -> bytes:
    raise OSError("no such file")


@pytest.fixture
def session(tmp_path):
    folder = tmp_path / "context"
    (folder / "d").mkdir(parents=True)
    (folder / "a").write_bytes(b"0123456789")
    (folder / "a").chmod(0o4750)
    (folder / "d" / "b").write_bytes(b"b")
    (folder / "out").symlink_to("/etc/passwd")
    layout = tmp_path / "layout"
    layout.mkdir()
    (layout / "index.json").write_bytes(b"{}")
    return LocalSession(
        id="s",
        locals={"context": folder, "gone": tmp_path / "gone"},
        secrets={"key": lambda: b"\0\xff", "lost": unreadable},
        oci_stores={"store": layout},
    )


def test_names_that_nothing_was_brought_for(session) -> None:
    assert session.directory("x") is session.secret("x") is session.agent("x") is session.store("x") is None
    assert (list(session.offered("directory")), list(session.offered("store"))) == (
        ["context", "gone"],
        ["store"],
    )


def test_secrets(session) -> None:
    assert session.secret("key") == b"\0\xff"
    with pytest.raises(WorkerError, match="lost"):
        session.secret("lost")


def test_scans_choose_by_filters(session) -> None:
    directory = session.directory("context")
    assert {path: list(found) for path, found in directory.scan(PathFilters()).items()} == {
        "": ["a", "d", "out"],
        "d": ["b"],
    }
    found = directory.scan(PathFilters(exclude=("a", "out")))
    assert {path: list(nodes) for path, nodes in found.items()} == {"": ["d"], "d": ["b"]}


def test_nodes(session) -> None:
    directory = session.directory("context")
    assert stat.S_IMODE(directory.lstat("a").stat.st_mode) == 0o4750
    assert directory.lstat("out").is_link
    assert directory.lstat("out").link == "/etc/passwd"
    assert directory.lstat("none") is None
    assert session.directory("gone").root() is None
    assert directory.root().is_dir
    assert directory.names("d") == ["b"]
    assert not directory.names("none")


def test_files_are_read_in_parts_and_never_through_a_link(session) -> None:
    directory = session.directory("context")
    with directory.open("a") as file:
        assert os.fstat(file.descriptor).st_size == 10
        assert b"".join(iter(lambda: file.read(3), b"")) == b"0123456789"
    for name in ("none", "out"):
        with pytest.raises(SourceError):
            directory.open(name)


def test_files_of_a_layout(session) -> None:
    files = session.store("store")
    assert files.has("index.json")
    assert not files.has("none")
    stream, size = files.open("index.json")
    with stream:
        assert stream.read(size) == b"{}"
    with pytest.raises(SourceError, match="none"):
        files.open("none")
