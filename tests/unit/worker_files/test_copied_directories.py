# SPDX-License-Identifier: Apache-2.0
"""What a directory is like that others' contents were copied to: as BuildKit leaves it."""

from __future__ import annotations

import os
import stat

import pytest

from llb.ops import Chown, Copy, MkDir
from worker.localtree import LocalTree
from worker.statcache import StatCache

OLD = 1_500_000_000


def cp(src: str, dest: str, **more: object) -> Copy:
    flags = {"mode": -1, "timestamp": -1, "dir_copy_contents": True, "create_dest_path": True, **more}
    return Copy(src=src, dest=dest, **flags)


@pytest.fixture
def local(tmp_path):
    """Return a directory as a build context: ``d`` has mode 0700 and, like everything, an old time."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("f")
    (tmp_path / "d").chmod(0o700)
    for path in (tmp_path / "d", tmp_path):
        os.utime(path, (OLD, OLD))
    return LocalTree(tmp_path, StatCache(str(tmp_path), None))


def status(world, snapshot, path: str) -> tuple[int, str, bool]:
    """Return mode and owner of a path, and whether it has the source's time."""
    found = world.inside(snapshot, lambda root: os.lstat(root / path))
    return stat.S_IMODE(found.st_mode), f"{found.st_uid}:{found.st_gid}", found.st_mtime == OLD


def test_a_new_one_takes_the_time_but_not_the_mode_of_the_source(world, local) -> None:
    made = world.files(cp("/d", "/a/b/"), source=local)
    assert status(world, made, "a/b") == (0o755, "0:0", True)
    assert status(world, made, "a") == (0o755, "0:0", False)


def test_an_existing_one_takes_only_the_time(world, local) -> None:
    copy = cp("/d", "/a", owner=Chown(user=5, group=6), mode=0o711)
    made = world.files(MkDir(path="/a", mode=0o750), copy, source=local)
    assert status(world, made, "a") == (0o750, "0:0", True)


@pytest.mark.parametrize("src", ["/d", "/d/f"])
def test_new_ones_have_the_mode_that_is_given_as_a_number(world, local, src: str) -> None:
    made = world.files(cp(src, "/a/b/", mode=0o701), source=local)
    assert [status(world, made, path)[0] for path in ("a", "a/b")] == [0o701, 0o701]


def test_new_ones_ignore_a_mode_that_is_a_change(world, local) -> None:
    made = world.files(cp("/d", "/a/b/", mode_str="g-rx,o="), source=local)
    assert [status(world, made, path)[0] for path in ("a", "a/b")] == [0o755, 0o755]


def test_the_root_of_a_context_has_no_time(world, local) -> None:
    """What a user does beside the files that are copied is not to be seen in the image."""
    assert not status(world, world.files(cp("/", "/a"), source=local), "a")[2]
