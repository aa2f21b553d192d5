# SPDX-License-Identifier: Apache-2.0
"""Local directories: filters, links, digests, the stat cache."""

from __future__ import annotations

import mmap
import os
import socket
import subprocess
from pathlib import Path

import pytest

import llbkit.worker.sources.localtree
from llbkit.worker.base import SourceError
from llbkit.worker.fs.contenthash import digest_of
from llbkit.worker.fs.select.filters import reaches
from llbkit.worker.fs.select.followpaths import follow_paths
from llbkit.worker.fs.select.selection import Selection
from llbkit.worker.fs.tree import DirectoryTree
from llbkit.worker.host.pools import Token
from llbkit.worker.session.directory import LocalDirectory
from llbkit.worker.sources.localtree import LocalTree
from llbkit.worker.sources.statcache import StatCache, StatCaches, at_rest, identity


@pytest.fixture
def context(tmp_path, helpers):
    root = tmp_path / "ctx"
    root.mkdir()
    helpers.fill(
        root,
        {
            "a.txt": b"a", "b.log": b"b", "src/main.py": b"m", "src/deep/x.md": b"x", "src/deep/y.py": b"y",
            "node_modules/p/index.js": b"js", "node_modules/keep.me": b"k", "link": "src/deep", "empty": None,
            "abs": "/src/main.py", "out": "../../etc/passwd",
        },
    )  # fmt: skip
    return root


def paths(tree) -> set[str]:
    return {pick.below for root in Selection().roots(tree) for pick in root.picks if pick.below}


def local(root, **filters) -> LocalTree:
    return LocalTree(LocalDirectory(root), StatCache(str(root), None), **filters)


@pytest.fixture
def at_leisure(monkeypatch) -> None:
    """Let every file count as unchanged for long."""
    monkeypatch.setattr(
        "llbkit.worker.sources.statcache.at_rest", lambda status, read_at, writers=False: True
    )


def test_everything_is_there_without_filters(context) -> None:
    found = paths(local(context))
    assert {"a.txt", "link", "empty", "src/deep/y.py", "node_modules/p/index.js"} <= found


def test_excluded_directories_vanish_but_exceptions_come_back(context) -> None:
    found = paths(local(context, exclude=["node_modules", "*.log", "!node_modules/keep.me"]))
    assert "node_modules/keep.me" in found
    assert "node_modules" in found
    assert not any(p.startswith("node_modules/p") for p in found)
    assert "b.log" not in found


def test_an_excluded_directory_without_exception_is_gone(context) -> None:
    assert not any(p.startswith("src") for p in paths(local(context, exclude=["src"])))


def test_an_absolute_pattern_matches_nothing(context) -> None:
    """Only the reader of an ignore file makes patterns relative; the paths of a walk are."""
    assert paths(local(context, exclude=["/src", "/a.txt", "/**"])) == paths(local(context))
    assert paths(local(context, include=["/src"])) == set()


def test_include_keeps_the_directories_above_only(context) -> None:
    assert paths(local(context, include=["src/**/*.py"])) == {
        "src",
        "src/main.py",
        "src/deep",
        "src/deep/y.py",
    }


def test_include_of_a_directory_takes_all_below(context) -> None:
    assert paths(local(context, include=["src/deep"])) == {
        "src",
        "src/deep",
        "src/deep/x.md",
        "src/deep/y.py",
    }


def test_follow_paths_take_links_and_what_they_lead_to(context) -> None:
    assert paths(local(context, follow=["link/y.py"])) == {"link", "src", "src/deep", "src/deep/y.py"}
    assert follow_paths(str(context), ["abs"]) == ["abs", "src/main.py"]


def test_follow_paths_never_leave_the_directory(context) -> None:
    assert follow_paths(str(context), ["out"]) == ["etc/passwd", "out"]


def test_follow_paths_expand_wildcards_and_survive_circles(context) -> None:
    (context / "c1").symlink_to("c2")
    (context / "c2").symlink_to("c1")
    assert follow_paths(str(context), ["c1"]) == ["c1", "c2"]
    assert follow_paths(str(context), ["*.txt", "missing"]) == ["*.txt", "missing"]


def test_follow_of_the_root_includes_everything(context) -> None:
    assert "node_modules/p/index.js" in paths(local(context, follow=["/", "a.txt"]))


@pytest.mark.root
def test_files_hand_on_no_capabilities_but_other_attributes(context) -> None:
    os.setxattr(context / "a.txt", "security.capability", b"\1\0\0\2\0\4" + bytes(14))
    os.setxattr(context / "a.txt", "user.a", b"1")
    for digested in (False, True):
        tree = local(context)
        node = tree.children("")["a.txt"]
        if digested:
            tree.digests([("a.txt", node)])
        assert tree.xattrs("a.txt", node) == (("user.a", b"1"),)


def test_sockets_do_not_exist(context) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(context / "sock"))
    server.close()
    assert "sock" not in paths(local(context))


def test_a_missing_directory_is_a_source_error(tmp_path) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        local(tmp_path / "nowhere")


def test_a_file_made_unreadable_names_the_path(context, monkeypatch) -> None:
    tree = local(context)
    tree.children("")
    (context / "a.txt").unlink()
    (context / "a.txt").mkdir()
    with pytest.raises(SourceError, match=r"a\.txt"):
        digest_of(tree, [Selection()], Token())


def key(tree, selection: Selection | None = None) -> str:
    return digest_of(tree, [selection or Selection()], Token()).digest


@pytest.mark.usefixtures("at_leisure")
def test_unchanged_files_are_not_read_again(context, tmp_path, monkeypatch) -> None:
    tree = LocalTree(LocalDirectory(context), StatCaches(tmp_path / "cache").of(str(context)))
    first = key(tree)
    tree.save()

    reads = []
    monkeypatch.setattr(LocalTree, "_read", lambda self, item: reads.append(item))
    again = LocalTree(LocalDirectory(context), StatCaches(tmp_path / "cache").of(str(context)))
    assert key(again) == first
    assert reads == []


@pytest.mark.usefixtures("at_leisure")
def test_only_a_changed_file_is_read_again(context, tmp_path, monkeypatch) -> None:
    tree = LocalTree(LocalDirectory(context), StatCaches(tmp_path / "cache").of(str(context)))
    first = key(tree)
    tree.save()
    (context / "a.txt").write_bytes(b"A")
    reads = []
    original = LocalTree._read
    monkeypatch.setattr(LocalTree, "_read", lambda self, item: (reads.append(item[0]), original(self, item)))
    again = LocalTree(LocalDirectory(context), StatCaches(tmp_path / "cache").of(str(context)))
    assert key(again) != first
    assert reads == ["a.txt"]


def test_a_file_changed_a_moment_ago_is_not_remembered(context, tmp_path) -> None:
    cache = StatCaches(tmp_path / "cache").of(str(context))
    (context / "a.txt").write_bytes(b"fresh")
    os.utime(context / "a.txt")
    key(LocalTree(LocalDirectory(context), cache))
    assert "a.txt" not in cache.table()


def test_rest_depends_on_the_clock_of_the_file_system(context) -> None:
    status = os.stat(context / "a.txt")
    last = status.st_ctime_ns
    assert not at_rest(status, last + 1_000_000)
    assert at_rest(status, last + 10_000_000_000)


def test_a_file_that_somebody_may_be_writing_to_is_not_remembered(context, tmp_path, monkeypatch) -> None:
    """A mapping changes the times when it is first written through, and not again."""
    monkeypatch.setattr("llbkit.worker.sources.statcache._FINE", -(10**18))
    monkeypatch.setattr("llbkit.worker.sources.statcache._COARSE", -(10**18))
    cache = StatCaches(tmp_path / "cache").of(str(context))
    with open(context / "a.txt", "r+b") as file, mmap.mmap(file.fileno(), 1) as memory:
        file.close()
        memory[0] = 65
        one = key(LocalTree(LocalDirectory(context), cache))
        assert "a.txt" not in cache.table()
        assert "b.log" in cache.table()
        memory[0] = 66
        assert key(LocalTree(LocalDirectory(context), cache)) != one
    two = key(LocalTree(LocalDirectory(context), cache))
    assert "a.txt" in cache.table()
    with open(context / "a.txt", "r+b") as file, mmap.mmap(file.fileno(), 1) as memory:
        memory[0] = 67
        assert key(LocalTree(LocalDirectory(context), cache)) != two


def test_where_nobody_tells_of_writers_a_longer_rest_is_needed(context) -> None:
    status = os.stat(context / "a.txt")
    assert not at_rest(status, status.st_ctime_ns + 10_000_000_000, None)
    assert at_rest(status, status.st_ctime_ns + 100_000_000_000, None)
    assert not at_rest(status, status.st_ctime_ns + 100_000_000_000, True)


@pytest.fixture
def mounted():
    """Return a function that mounts an image file, in place of what it mounted there before."""
    made: list[Path] = []

    def mount(image: Path, target: Path, *options: str) -> None:
        if target in made:
            subprocess.run(["umount", target], check=True)
            made.remove(target)
        # mount's own search for a free loop device loses races with other processes; losetup's does not.
        device = subprocess.run(
            ["losetup", "--find", "--show", *(["--read-only"] if "ro" in options else []), image],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        subprocess.run(["mount", *(f"-o{option}" for option in options), device, target], check=True)
        subprocess.run(["losetup", "--detach", device], check=True)  # at the last unmount
        made.append(target)

    yield mount
    for target in made:
        subprocess.run(["umount", target], check=True)


def squashfs(folder: Path, image: Path) -> None:
    subprocess.run(
        ["mksquashfs", folder, image, "-noappend", "-all-time", "0", "-quiet", "-no-progress"], check=True
    )


def erofs(folder: Path, image: Path) -> None:
    subprocess.run(
        ["mkfs.erofs", "--quiet", "-T0", "-U00000000-0000-0000-0000-000000000001", image, folder], check=True
    )


@pytest.mark.root
@pytest.mark.parametrize("make", [squashfs, erofs])
@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.usefixtures("at_leisure")
def test_another_image_at_the_same_path_is_another_content(tmp_path, mounted, make, in_place) -> None:
    """Inode number, size and all times are equal; even the device may be."""
    keys, stats, context = [], [], tmp_path / "ctx"
    context.mkdir()
    for word in ("one", "two"):
        folder = tmp_path / word
        folder.mkdir()
        (folder / "f").write_text(word)
        make(folder, tmp_path / "new.img")
        image = tmp_path / ("image" if in_place else f"{word}.img")
        image.write_bytes((tmp_path / "new.img").read_bytes())
        mounted(image, context)
        stats.append(identity(os.stat(context / "f")))
        tree = LocalTree(LocalDirectory(context), StatCaches(tmp_path / "cache").of(str(context)))
        keys.append(key(tree))
        tree.save()
    assert stats[0][:4] == stats[1][:4]
    assert keys[0] != keys[1]


@pytest.mark.root
@pytest.mark.usefixtures("at_leisure")
def test_an_image_is_remembered_while_its_file_does_not_change(tmp_path, mounted, monkeypatch) -> None:
    folder, context = tmp_path / "files", tmp_path / "ctx"
    folder.mkdir()
    context.mkdir()
    (folder / "f").write_text("x")
    squashfs(folder, tmp_path / "image")
    for _ in range(2):  # mounted again, it is the same
        mounted(tmp_path / "image", context)
        tree = LocalTree(LocalDirectory(context), StatCaches(tmp_path / "cache").of(str(context)))
        first = key(tree)
        tree.save()
    monkeypatch.setattr(LocalTree, "_read", lambda self, item: pytest.fail("it was read again"))
    again = LocalTree(LocalDirectory(context), StatCaches(tmp_path / "cache").of(str(context)))
    assert key(again) == first


@pytest.mark.root
@pytest.mark.usefixtures("at_leisure")
def test_a_filesystem_mounted_inside_a_context_is_seen(tmp_path, mounted) -> None:
    """In one process, between two builds, on a device of the same number."""
    folder, context = tmp_path / "files", tmp_path / "ctx"
    folder.mkdir()
    (context / "inner").mkdir(parents=True)
    (context / "outer").write_text("stays")
    cache = StatCaches(tmp_path / "cache").of(str(context))
    keys = set()
    for word in ("one", "two"):
        (folder / "f").write_text(word)
        squashfs(folder, tmp_path / f"{word}.img")
        mounted(tmp_path / f"{word}.img", context / "inner")
        keys.add(key(LocalTree(LocalDirectory(context), cache)))
        assert "outer" in cache.table()
    assert len(keys) == 2


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
@pytest.mark.usefixtures("at_leisure")
def test_a_damaged_cache_is_an_empty_one(context, tmp_path, damage) -> None:
    tree = LocalTree(LocalDirectory(context), StatCaches(tmp_path / "cache").of(str(context)))
    first = key(tree)
    tree.save()
    (file,) = (tmp_path / "cache").iterdir()
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if damage is None else damage)
    cache = StatCaches(tmp_path / "cache").of(str(context))
    assert cache.table() == {}
    assert key(LocalTree(LocalDirectory(context), cache)) == first


@pytest.mark.usefixtures("at_leisure")
def test_the_cache_forgets_what_is_gone_but_not_what_was_filtered(context, tmp_path) -> None:
    cache = StatCaches(tmp_path / "cache").of(str(context))
    tree = LocalTree(LocalDirectory(context), cache)
    key(tree)
    tree.save()
    (context / "b.log").unlink()
    LocalTree(LocalDirectory(context), cache, include=["a.txt"]).save()
    assert "b.log" not in cache.table()
    assert "src/main.py" in cache.table()


def test_small_files_stay_in_memory_until_they_are_copied(context) -> None:
    tree = local(context)
    key(tree)
    assert tree.kept("a.txt") == b"a"


def test_large_files_are_digested_whole(context) -> None:
    (context / "large").write_bytes(b"z" * (llbkit.worker.sources.localtree.KEPT_FILE * 3 + 7))
    tree = local(context)
    assert key(tree) == key(Everyone(context))
    assert tree.kept("large") is None


class Everyone(DirectoryTree):
    """A directory whose files all belong to root, as in a context."""

    keeps_owners = False

    def __init__(self, path) -> None:
        super().__init__(str(path))


def test_the_digest_is_that_of_a_snapshot_with_the_same_files(context) -> None:
    assert key(local(context)) == key(Everyone(context))


@pytest.mark.parametrize(
    ("pattern", "directory", "expected"),
    [
        ("a/b", "a", True), ("a/b", "b", False), ("a", "a", False), ("**/x", "q/r", True), ("a/**", "b", False),
        ("*.log", "node_modules", False), ("*/x", "q", True), ("a/[b]", "a", True), ("a/[b]", "c", False),
    ],
)  # fmt: skip
def test_reach_of_patterns(pattern, directory, expected) -> None:
    assert reaches(pattern, directory) is expected
