# SPDX-License-Identifier: Apache-2.0
"""Who a step runs as: BuildKit's rules for USER, read from the root's files and from nowhere else."""

from __future__ import annotations

import os

import pytest

from llbkit.worker.base import WorkerError
from llbkit.worker.fs.rootpath import follow, make_directories, read_file, resolve
from llbkit.worker.runtime.users import User, lookup

PASSWD = """root:x:0:0:root:/root:/bin/sh
# ann:x:1:1::/comment:/bin/sh

ann:x:1000:1001:Ann\u2028twin:/home/ann:/bin/sh
ann:x:1:1::/second:/bin/sh
77:x:1077:1078::/named-by-digits:
short:x:5:6
broken:x:five:6::/b:
homeless:x:9:9:::
"""
GROUP = """root:x:0:
wheel:x:10:root,ann
ann:x:1001:
staff:x:50:other,ann
bad:x:ten:ann
nobody
users:x:100
"""


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "root"
    (made / "etc").mkdir(parents=True)
    (made / "etc/passwd").write_text(PASSWD)
    (made / "etc/group").write_text(GROUP)
    return made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", User(uid=0, gid=0, home="/root")),
        ("root", User(uid=0, gid=0, groups=(10,), home="/root")),
        ("0", User(uid=0, gid=0, groups=(10,), home="/root")),
        ("ann", User(uid=1000, gid=1001, groups=(10, 50), home="/home/ann")),
        ("1000", User(uid=1000, gid=1001, groups=(10, 50), home="/home/ann")),
        ("ann:staff", User(uid=1000, gid=50, home="/home/ann")),
        ("ann:users", User(uid=1000, gid=100, home="/home/ann")),
        ("ann:7", User(uid=1000, gid=7, home="/home/ann")),
        ("1000:7", User(uid=1000, gid=7, home="/home/ann")),
        ("1000:ann", User(uid=1000, gid=1001, home="/home/ann")),
        ("4242", User(uid=4242, gid=0, home="/")),
        ("4242:4243", User(uid=4242, gid=4243, home="/")),
        ("4242:staff", User(uid=4242, gid=50, home="/")),
        (":staff", User(uid=0, gid=50, home="/root")),
        ("77", User(uid=77, gid=0, home="/")),
        ("short", User(uid=5, gid=6, home="/")),
        ("homeless", User(uid=9, gid=9, home="/")),
        ("4294967294:4294967294", User(uid=4294967294, gid=4294967294, home="/")),
    ],
)
def test_users_are_looked_up_in_the_root(root, text, expected) -> None:
    assert lookup(root, text) == expected


@pytest.mark.parametrize(
    "text",
    ["nobody", "twin", "broken", "ann:none", "٣", "ann:٣", "0x7", "-", "+", "1_0", "-0x1"],
)
def test_who_is_not_in_the_files_is_an_error_with_a_next_step(root, text) -> None:
    with pytest.raises(WorkerError, match="unable to find") as caught:
        lookup(root, text)
    assert caught.value.help


@pytest.mark.parametrize(
    "text", ["-1", "-5", "2147483648", "4294967295:0", "9" * 5000, "0:-1", "ann:2147483648", "-99999999999"]
)
def test_numbers_that_no_user_can_have_are_told_from_names(root, text) -> None:
    with pytest.raises(WorkerError, match=r"ids must be in range 0-2147483647") as caught:
        lookup(root, text)
    assert caught.value.help


@pytest.mark.parametrize(
    ("text", "uid", "gid"), [("+7", 7, 0), ("-0", 0, 0), ("ann:+8", 1000, 8), ("+7:+8", 7, 8)]
)
def test_numbers_may_have_a_sign(root, text, uid, gid) -> None:
    """As Go reads them, which compares entries with the text: the group is not that of the entry."""
    found = lookup(root, text)
    assert (found.uid, found.gid) == (uid, gid)


def test_without_files_numbers_still_work(tmp_path) -> None:
    assert lookup(tmp_path, "5:6") == User(uid=5, gid=6)
    assert lookup(tmp_path, "5") == User(uid=5)
    assert lookup(tmp_path, "") == User()
    with pytest.raises(WorkerError, match="passwd"):
        lookup(tmp_path, "root")


def test_files_that_are_links_stay_in_the_root(root, tmp_path) -> None:
    outside = tmp_path / "passwd"
    outside.write_text("host:x:0:0::/:\n")
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to(outside)
    with pytest.raises(WorkerError, match="unable to find user host"):
        lookup(root, "host")
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to("../../passwd")
    (root / "passwd").write_text("inner:x:3:4::/:\n")
    assert lookup(root, "inner").uid == 3


@pytest.mark.parametrize("kind", ["loop", "fifo", "directory"])
def test_files_that_cannot_be_read_do_not_stop_numbers(root, kind) -> None:
    """A FIFO in their place must not be waited for."""
    passwd = root / "etc/passwd"
    passwd.unlink()
    if kind == "loop":
        passwd.symlink_to("passwd")
    elif kind == "fifo":
        os.mkfifo(passwd)
    else:
        passwd.mkdir()
    assert lookup(root, "5") == User(uid=5)


def test_bytes_that_are_not_text_do_not_hide_the_rest(root) -> None:
    with (root / "etc/passwd").open("ab") as file:
        file.write(b"caf\xe9:x:7:8:\xff:/c:\nlast:x:11:12::/l:\n")
    assert lookup(root, "last").uid == 11


# -- paths in a root


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/b", "real/b"), ("a/../../../x", "x"), ("/up/x", "x"), ("/abs", "real"), ("/chain/f", "real/f"),
        ("/a/back", "real"), ("/new/x/../y", "new/y"), ("", ""), ("/file/x", "file/x"),
    ],
)  # fmt: skip
def test_links_are_followed_as_if_the_root_were_the_root(tmp_path, path, expected) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "file").touch()
    links = {"a": "real", "up": "../../..", "abs": "/real", "chain": "/a", "real/back": "../real"}
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    assert follow(os.fspath(tmp_path), path) == expected


def test_loops_of_links_end(tmp_path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        resolve(tmp_path, "/a/x")
    assert read_file(tmp_path, "/a") is None


def test_directories_are_made_inside_and_only_new_ones_change(tmp_path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "old").mkdir(mode=0o700)
    (root / "old/link").symlink_to(outside)
    make_directories(root, "/old/link/new", mode=0o750)
    assert list(outside.iterdir()) == []
    made = root / os.fspath(outside).lstrip("/") / "new"
    assert made.stat().st_mode & 0o777 == 0o750
    assert (root / "old").stat().st_mode & 0o777 == 0o700
