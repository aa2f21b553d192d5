# SPDX-License-Identifier: Apache-2.0
"""What a directory is like that others' contents were copied to: as BuildKit leaves it."""

from __future__ import annotations

import os
import stat

import pytest

from llbkit.llb.ir.ops import Chown, Copy, MkDir
from llbkit.worker.base import SCRATCH
from llbkit.worker.session.directory import LocalDirectory
from llbkit.worker.sources.localtree import LocalTree
from llbkit.worker.sources.statcache import StatCache

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
    return LocalTree(LocalDirectory(tmp_path), StatCache(str(tmp_path), None))


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


# -- directories that are taken only because of something below, as with COPY --parents


SOURCE = {"s/home/app/new/f": 0o644, "s/home/app/x": 0o644, "s/tmp/t": 0o644}
DIRECTORIES = {
    "s/home": (0o700, 0, 0),
    "s/home/app": (0o3700, 5, 6),
    "s/home/app/new": (0o2751, 5, 6),
    "s/tmp": (0o755, 0, 0),
}
BASE = {"home": (0o755, 1000, 1001), "home/app": (0o1770, 1000, 1001), "tmp": (0o1777, 0, 0)}


def prepared(world, directories, files=()):
    """Return a snapshot with directories of given mode and owner, all of an old time."""

    def work(token: object):
        with world.snapshotter.prepare(SCRATCH) as active:
            for name in directories:
                (active.path / name).mkdir(parents=True, exist_ok=True)
            for name in files:
                (active.path / name).write_bytes(b"f")
            for name, (mode, uid, gid) in directories.items():
                os.chown(active.path / name, uid, gid)
                (active.path / name).chmod(mode)
            for name in [*directories, *files]:
                os.utime(active.path / name, (OLD, OLD))
            return active.commit()

    return world.pools.run_sync("disk", work)


@pytest.mark.parametrize(
    ("include", "more", "expected"),
    [
        (
            ("home/app/new/f", "tmp/t"), {},
            {"home": (0o700, "1000:1001"), "home/app": (0o3700, "1000:1001"), "home/app/new": (0o2751, "5:6"), "tmp": (0o755, "0:0")},
        ),
        (
            ("home/app/new/f", "tmp/t"), {"owner": Chown(user=33, group=34), "mode": 0o2640},
            {"home": (0o700, "1000:1001"), "home/app": (0o3700, "1000:1001"), "home/app/new": (0o2640, "33:34"), "tmp": (0o755, "0:0")},
        ),
        (
            ("home/app/new/f",), {"mode_str": "u=rwX,go=rX"},
            {"home": (0o700, "1000:1001"), "home/app/new": (0o755, "5:6"), "home/app/new/f": (0o644, "0:0"), "tmp": (0o1777, "0:0")},
        ),
        (
            ("home/app",), {"owner": Chown(user=33), "mode": 0o711},
            {"home": (0o700, "1000:1001"), "home/app": (0o711, "33:33"), "home/app/new": (0o711, "33:33"), "home/app/x": (0o711, "33:33")},
        ),
    ],
)  # fmt: skip
def test_existing_directories_above_keep_their_owners(world, include, more, expected) -> None:
    """Recorded from BuildKit."""
    base, source = prepared(world, BASE), prepared(world, DIRECTORIES, SOURCE)
    made = world.files(cp("/s", "/", include_patterns=include, **more), base=base, source=source)
    assert {path: status(world, made, path)[:2] for path in expected} == expected


def test_a_second_copy_gives_directories_above_the_mode_of_the_source(world) -> None:
    """The first makes ``/x/a`` with the mode that is asked for, the second finds it."""
    source = prepared(world, {"a": (0o711, 0, 0)}, ["a/1", "a/2"])
    first, second = (cp("/", "/x/", include_patterns=(f"a/{name}",), mode=0o644) for name in (1, 2))
    made = world.files(first, source=source)
    assert status(world, made, "x/a")[0] == 0o644
    both = world.files(second, base=made, source=source)
    assert status(world, both, "x/a")[0] == 0o711


def test_directories_that_are_excluded_but_for_something_keep_their_owners(world) -> None:
    base, source = prepared(world, BASE), prepared(world, DIRECTORIES, SOURCE)
    copy = cp("/s", "/", exclude_patterns=("home", "!home/app/x"), owner=Chown(user=33))
    made = world.files(copy, base=base, source=source)
    assert status(world, made, "home")[:2] == (0o700, "1000:1001")
    assert status(world, made, "tmp")[:2] == (0o755, "33:33")


# -- set-group-id and sticky directories


def test_files_do_not_take_the_group_of_their_directory_but_new_directories_do(world) -> None:
    """Recorded from BuildKit: what the kernel does for mkdir stays, files get their owner explicitly."""
    base = prepared(world, {"s": (0o2775, 0, 33)})
    source = prepared(world, {"d": (0o755, 0, 0), "d/e": (0o755, 0, 0)}, ["f", "d/e/g"])
    made = world.files(
        cp("/f", "/s/f"),
        cp("/f", "/s/f2", owner=Chown(user=0, group=0)),
        cp("/d", "/s"),
        cp("/d", "/s/new/"),
        cp("/f", "/s/p/q/", mode=0o4755),
        cp("/f", "/s/c/q/", owner=Chown(user=7)),
        MkDir(path="/s/w", mode=0o755),
        MkDir(path="/s/v/w", mode=0o755, make_parents=True),
        base=base,
        source=source,
    )
    expected = {
        "s": (0o2775, "0:33"), "s/f": (0o644, "0:0"), "s/f2": (0o644, "0:0"), "s/e": (0o755, "0:0"), "s/e/g": (0o644, "0:0"),
        "s/new": (0o2755, "0:33"), "s/new/e": (0o755, "0:0"), "s/new/e/g": (0o644, "0:0"), "s/p": (0o2755, "0:33"),
        "s/p/q": (0o2755, "0:33"), "s/p/q/f": (0o4755, "0:0"), "s/c": (0o2755, "7:7"), "s/c/q": (0o2755, "7:7"),
        "s/w": (0o2755, "0:33"), "s/v": (0o2755, "0:33"), "s/v/w": (0o2755, "0:33"),
    }  # fmt: skip
    assert {path: status(world, made, path)[:2] for path in expected} == expected


def test_directories_of_the_destination_have_no_special_bits(world, local) -> None:
    made = world.files(cp("/d/f", "/a/b/", mode=0o4711), source=local)
    assert [status(world, made, path)[0] for path in ("a", "a/b", "a/b/f")] == [0o711, 0o711, 0o4711]
