# SPDX-License-Identifier: Apache-2.0
"""The contract of `llbkit.worker.base.Snapshotter`, run on every implementation. A new one is done when this is green."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from llbkit.worker.base import SCRATCH, Snapshot
from llbkit.worker.content.store import ContentStore
from llbkit.worker.host.pools import Pools
from llbkit.worker.snapshot.layers import LayerStore
from llbkit.worker.snapshot.native import NativeSnapshotter
from llbkit.worker.snapshot.overlay import OverlaySnapshotter
from llbkit.worker.snapshot.overlayfs import make_opaque
from llbkit.worker.state.directory import StateDir

pytestmark = pytest.mark.root

MAKERS = {"overlay": OverlaySnapshotter, "native": NativeSnapshotter}


class World:
    """A snapshotter on a fresh state directory; everything runs on a thread of the pools."""

    def __init__(self, root: Path, name: str) -> None:
        self.state = StateDir(root)
        self.layers = LayerStore(self.state, ContentStore(self.state))
        self.snapshotter = MAKERS[name](self.state, self.layers)
        self.pools = Pools({"disk": 2}, private_mounts=True)

    def close(self) -> None:
        self.pools.close()
        self.state.close()

    def step(self, below: Snapshot, change: Callable[[Path], object]) -> Snapshot:
        def work(token: object) -> Snapshot:
            with self.snapshotter.prepare(below) as active:
                change(active.path)
                return active.commit("a step")

        return self.pools.run_sync("disk", work)

    def look(self, snapshot: Snapshot, question: Callable[[Path], object] | None = None):
        def work(token: object):
            with self.snapshotter.view(snapshot) as path:
                return (question or tree)(path)

        return self.pools.run_sync("disk", work)

    def run(self, work: Callable[[], object]):
        return self.pools.run_sync("disk", lambda token: work())


@pytest.fixture(params=sorted(MAKERS))
def world(request, tmp_path):
    made = World(tmp_path / "state", request.param)
    yield made
    made.close()


def tree(root: Path) -> dict[str, tuple]:
    """Return path -> (kind, mode, owner, mtime, content) of everything visible below a directory."""
    out = {}
    for folder, directories, files in os.walk(root):
        for name in (*directories, *files):
            full = os.path.join(folder, name)
            status = os.lstat(full)
            content: object = None
            if stat.S_ISREG(status.st_mode):
                content = Path(full).read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(full)
            elif not stat.S_ISDIR(status.st_mode):
                content = status.st_rdev
            out[os.path.relpath(full, root)] = (
                stat.S_IFMT(status.st_mode),
                stat.S_IMODE(status.st_mode),
                (status.st_uid, status.st_gid),
                content,
            )
    return out


def write(**files: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        for name, text in files.items():
            path = root / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return change


def texts(world: World, snapshot: Snapshot) -> dict[str, str]:
    found = world.look(snapshot)
    return {path: node[3].decode() for path, node in found.items() if node[0] == stat.S_IFREG}


def test_scratch_is_empty(world) -> None:
    assert world.look(SCRATCH) == {}


def test_what_is_committed_is_seen(world) -> None:
    snapshot = world.step(SCRATCH, write(a="1", d__b="2"))
    assert texts(world, snapshot) == {"a": "1", "d/b": "2"}
    assert len(snapshot.layers) == 1


def test_a_layer_is_added_even_if_nothing_changed(world) -> None:
    base = world.step(SCRATCH, write(a="1"))
    same = world.step(base, lambda root: None)
    assert len(same.layers) == 2
    assert world.look(same) == world.look(base)
    assert os.listdir(world.layers.path(same.layers[-1])) == []


def test_changes_without_commit_are_thrown_away(world) -> None:
    base = world.step(SCRATCH, write(a="1"))

    def work() -> None:
        with world.snapshotter.prepare(base) as active:
            (active.path / "a").write_text("changed")
            (active.path / "b").write_text("new")

    world.run(work)
    assert texts(world, base) == {"a": "1"}
    assert os.listdir(world.state.work) == []


def test_a_failing_block_leaves_nothing(world) -> None:
    base = world.step(SCRATCH, write(a="1"))
    count = len(world.layers.layers())

    def fail(root: Path) -> None:
        (root / "a").write_text("changed")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        world.step(base, fail)
    assert texts(world, base) == {"a": "1"}
    assert len(world.layers.layers()) == count
    assert os.listdir(world.state.work) == []


def test_a_layer_holds_only_what_changed(world) -> None:
    base = world.step(SCRATCH, write(a="1", d__b="2", d__c="3", e__f="4"))
    top = world.step(base, write(d__b="changed"))
    layer = world.layers.path(top.layers[-1])
    assert sorted(str(path.relative_to(layer)) for path in layer.rglob("*")) == ["d", "d/b"]
    assert texts(world, top) == {"a": "1", "d/b": "changed", "d/c": "3", "e/f": "4"}
    assert texts(world, base) == {"a": "1", "d/b": "2", "d/c": "3", "e/f": "4"}


def test_deletions_hide_what_is_below(world) -> None:
    base = world.step(SCRATCH, write(a="1", d__b="2", d__c="3"))

    def change(root: Path) -> None:
        (root / "a").unlink()
        (root / "d/b").unlink()

    top = world.step(base, change)
    assert texts(world, top) == {"d/c": "3"}
    status = os.lstat(world.layers.path(top.layers[-1]) / "a")
    assert stat.S_ISCHR(status.st_mode)
    assert status.st_rdev == 0


def test_a_deleted_directory_takes_its_files_along(world) -> None:
    base = world.step(SCRATCH, write(d__e__f="1", g="2"))

    def change(root: Path) -> None:
        (root / "d/e/f").unlink()
        (root / "d/e").rmdir()
        (root / "d").rmdir()

    top = world.step(base, change)
    assert texts(world, top) == {"g": "2"}
    assert "d" not in world.look(top)


def test_a_directory_made_again_shows_nothing_of_the_old_one(world) -> None:
    base = world.step(SCRATCH, write(d__old="1", d__sub__old="2"))

    def change(root: Path) -> None:
        for name in ("d/old", "d/sub/old"):
            (root / name).unlink()
        (root / "d/sub").rmdir()
        (root / "d").rmdir()
        (root / "d").mkdir()
        (root / "d/new").write_text("3")

    assert texts(world, world.step(base, change)) == {"d/new": "3"}


def test_a_deleted_file_may_come_back(world) -> None:
    base = world.step(SCRATCH, write(d__a="1"))
    gone = world.step(base, lambda root: (root / "d/a").unlink())
    back = world.step(gone, write(d__a="2"))
    assert texts(world, gone) == {}
    assert texts(world, back) == {"d/a": "2"}


@pytest.mark.parametrize("kinds", [("file", "dir"), ("dir", "file"), ("link", "dir"), ("dir", "link")])
def test_a_kind_may_become_another(world, kinds) -> None:
    def make(root: Path, kind: str) -> None:
        path = root / "x"
        match kind:
            case "file":
                path.write_text("file")
            case "dir":
                path.mkdir()
                (path / "in").write_text("in")
            case "link":
                path.symlink_to("y")

    def change(root: Path) -> None:
        path = root / "x"
        if path.is_dir() and not path.is_symlink():
            (path / "in").unlink()
            path.rmdir()
        else:
            path.unlink()
        make(root, kinds[1])

    base = world.step(SCRATCH, lambda root: make(root, kinds[0]))
    expected = world.look(world.step(SCRATCH, lambda root: make(root, kinds[1])))
    assert world.look(world.step(base, change)) == expected


def test_renamed_files_move(world) -> None:
    base = world.step(SCRATCH, write(a="1", d__b="2"))

    def change(root: Path) -> None:
        (root / "a").rename(root / "z")
        (root / "d/b").rename(root / "a")

    assert texts(world, world.step(base, change)) == {"z": "1", "a": "2"}


def test_a_renamed_directory_moves_or_is_refused_as_across_devices(world) -> None:
    """Overlay layers are used in other stacks, so they hold no redirects; `mv` then copies."""
    base = world.step(SCRATCH, write(d__a="1", d__b="2"))

    def change(root: Path) -> None:
        try:
            (root / "d").rename(root / "e")
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            (root / "e").mkdir()
            for name in ("a", "b"):
                (root / "d" / name).rename(root / "e" / name)
            (root / "d").rmdir()

    assert texts(world, world.step(base, change)) == {"e/a": "1", "e/b": "2"}


def test_modes_owners_and_times_are_kept(world) -> None:
    def make(root: Path) -> None:
        (root / "d").mkdir()
        (root / "f").write_text("x")
        os.chown(root / "f", 1000, 4_000_000_000)
        os.chmod(root / "f", 0o6755)
        os.chmod(root / "d", 0o1777)
        os.utime(root / "f", ns=(5, 123_456_789_012_345_678))
        os.utime(root / "d", ns=(5, 987_654_321))

    base = world.step(SCRATCH, make)
    top = world.step(base, write(other="1"))

    def question(root: Path) -> tuple:
        f, d = os.lstat(root / "f"), os.lstat(root / "d")
        return (
            f.st_uid,
            f.st_gid,
            stat.S_IMODE(f.st_mode),
            f.st_mtime_ns,
            stat.S_IMODE(d.st_mode),
            d.st_mtime_ns,
        )

    expected = (1000, 4_000_000_000, 0o6755, 123_456_789_012_345_678, 0o1777, 987_654_321)
    assert world.look(base, question) == expected
    assert world.look(top, question) == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda root: os.chmod(root / "f", 0o600),
        lambda root: os.chown(root / "f", 7, 8),
        lambda root: os.chmod(root / "d", 0o700),
        lambda root: os.chown(root / "d", 7, 8),
    ],
)
def test_a_changed_attribute_is_a_change(world, change) -> None:
    base = world.step(SCRATCH, write(f="x", d__g="y"))
    top = world.step(base, change)
    before, after = world.look(base), world.look(top)
    differ = {path for path in before if before[path] != after[path]}
    assert len(differ) == 1
    assert set(after) == set(before)


def test_a_change_of_the_same_size_and_time_is_seen(world) -> None:
    base = world.step(SCRATCH, write(f="old"))

    def change(root: Path) -> None:
        status = os.stat(root / "f")
        (root / "f").write_text("new")
        os.utime(root / "f", ns=(status.st_atime_ns, status.st_mtime_ns))

    assert texts(world, world.step(base, change)) == {"f": "new"}


def test_the_attributes_of_the_root_are_kept(world) -> None:
    def make(root: Path) -> None:
        os.chown(root, 12, 13)
        os.chmod(root, 0o750)

    top = world.step(world.step(SCRATCH, make), write(a="1"))

    def question(root: Path) -> tuple:
        status = os.stat(root)
        return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid

    assert world.look(top, question) == (0o750, 12, 13)


def test_extended_attributes_are_kept_and_changed(world) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")

    def make(root: Path) -> None:
        (root / "f").write_text("x")
        (root / "d").mkdir()
        os.setxattr(root / "f", "user.one", b"1")
        os.setxattr(root / "f", "security.capability", capability)
        os.setxattr(root / "d", "user.two", b"2")

    def change(root: Path) -> None:
        os.removexattr(root / "f", "user.one")
        os.setxattr(root / "d", "user.two", b"3")

    def question(root: Path) -> dict[str, bytes]:
        return {
            f"{name}:{key}": os.getxattr(root / name, key)
            for name in ("f", "d")
            for key in os.listxattr(root / name)
            if not key.startswith("trusted.")
        }

    base = world.step(SCRATCH, make)
    first = {"f:user.one": b"1", "f:security.capability": capability, "d:user.two": b"2"}
    assert world.look(base, question) == first
    top = world.step(base, change)
    assert world.look(top, question) == {"f:security.capability": capability, "d:user.two": b"3"}
    assert world.look(world.step(base, write(g="1")), question) == first


def test_special_files_are_kept(world) -> None:
    def make(root: Path) -> None:
        os.mkfifo(root / "pipe", 0o640)
        os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.mknod(root / "disk", stat.S_IFBLK | 0o660, os.makedev(7, 300))
        (root / "dangling").symlink_to("/nowhere")

    base = world.step(SCRATCH, make)
    top = world.step(base, write(a="1"))
    seen = world.look(top)
    assert seen.pop("a")
    assert seen == world.look(base)
    assert seen["disk"][3] == os.makedev(7, 300)
    assert seen["dangling"][3] == "/nowhere"


def test_hard_links_of_one_layer_stay_one_file(world) -> None:
    def make(root: Path) -> None:
        (root / "a").write_text("x")
        (root / "d").mkdir()
        os.link(root / "a", root / "d/b")

    base = world.step(SCRATCH, make)
    top = world.step(base, write(other="1"))

    def one_file(root: Path) -> bool:
        return os.path.samestat(os.stat(root / "a"), os.stat(root / "d/b"))

    assert world.look(base, one_file)
    assert world.look(top, one_file)


def in_layer(world: World, snapshot: Snapshot) -> list[str]:
    """Return the paths in the top layer, whiteouts with an exclamation mark."""
    layer = world.layers.path(snapshot.layers[-1])
    return sorted(
        ("!" if stat.S_ISCHR(os.lstat(path).st_mode) else "") + str(path.relative_to(layer))
        for path in layer.rglob("*")
    )


def touch_all(root: Path) -> None:
    """Give every file the owner and mode that it has."""
    for path in (root, *root.rglob("*")):
        status = os.lstat(path)
        os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)
        if not path.is_symlink():
            os.chmod(path, stat.S_IMODE(status.st_mode))


def test_what_is_only_touched_is_no_change(world) -> None:
    def make(root: Path) -> None:
        write(f="1", d__e__g="2", empty="")(root)
        os.link(root / "f", root / "d/hard")
        (root / "link").symlink_to("f")
        os.mkfifo(root / "pipe")
        os.setxattr(root / "f", "user.one", b"1")

    base = world.step(world.step(SCRATCH, make), write(other="3"))
    top = world.step(base, touch_all)
    assert in_layer(world, top) == []
    assert world.look(top, lambda root: os.path.samefile(root / "f", root / "d/hard"))
    again = world.step(top, lambda root: (touch_all(root), (root / "d/e/new").write_text("4")))
    assert in_layer(world, again) == ["d", "d/e", "d/e/new"]


def times(path: Path, nanoseconds: int) -> None:
    os.utime(path, ns=(nanoseconds, nanoseconds), follow_symlinks=False)


@pytest.mark.parametrize("nanoseconds", [1_000_000_000, 1_000_000_001])
def test_a_file_written_anew_is_no_change_if_time_and_content_are_the_same(world, nanoseconds) -> None:
    def make(root: Path) -> None:
        write(same="1", other="1", later="1")(root)
        (root / "link").symlink_to("a")
        (root / "elsewhere").symlink_to("a")
        for path in root.iterdir():
            times(path, nanoseconds)

    def change(root: Path) -> None:
        for path in root.iterdir():
            path.unlink()
        write(same="1", other="2", later="1")(root)
        (root / "link").symlink_to("a")
        (root / "elsewhere").symlink_to("b")
        for path in root.iterdir():
            times(path, nanoseconds)
        times(root / "later", nanoseconds + 1)

    top = world.step(world.step(SCRATCH, make), change)
    assert in_layer(world, top) == ["elsewhere", "later", "other"]
    assert texts(world, top) == {"same": "1", "other": "2", "later": "1"}


def test_a_directory_whose_entries_came_and_went_is_no_change(world) -> None:
    base = world.step(SCRATCH, write(d__e__f="1", g="2"))

    def change(root: Path) -> None:
        for folder in ("d", "d/e", "."):
            (root / folder / "new").write_text("x")
            (root / folder / "new").unlink()

    assert in_layer(world, world.step(base, change)) == []


def test_a_directory_made_again_holds_what_changed_and_hides_what_is_gone(world) -> None:
    def make(root: Path) -> None:
        write(d__keep="1", d__gone="2", d__sub__keep="3", d__sub__gone="4", d__dir__x="5")(root)
        for path in root.rglob("keep"):
            times(path, 5)

    def change(root: Path) -> None:
        for path in sorted((root / "d").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (root / "d").rmdir()
        write(d__keep="1", d__sub__keep="3", d__new="6")(root)
        for path in root.rglob("keep"):
            times(path, 5)

    base = world.step(world.step(SCRATCH, make), write(d__later="7"))
    top = world.step(base, change)
    assert texts(world, top) == {"d/keep": "1", "d/sub/keep": "3", "d/new": "6"}
    assert in_layer(world, top) == ["!d/dir", "!d/gone", "!d/later", "!d/sub/gone", "d", "d/new", "d/sub"]
    after = world.step(top, write(d__dir__y="8"))
    assert texts(world, after) == {"d/keep": "1", "d/sub/keep": "3", "d/new": "6", "d/dir/y": "8"}


def test_a_new_name_of_a_file_below_stays_the_same_file(world) -> None:
    base = world.step(SCRATCH, write(f="1", g="2"))
    top = world.step(base, lambda root: ((root / "d").mkdir(), os.link(root / "f", root / "d/new")))
    assert in_layer(world, top) == ["d", "d/new", "f"]
    assert world.look(top, lambda root: os.path.samefile(root / "f", root / "d/new"))


def test_directories_keep_their_times_when_files_leave_the_layer(world) -> None:
    base = world.step(SCRATCH, write(d__f="1", d__g="2"))

    def change(root: Path) -> None:
        touch_all(root)
        (root / "d/g").write_text("3")
        times(root / "d", 7_000_000_001)
        times(root, 8_000_000_001)

    top = world.step(base, change)
    assert in_layer(world, top) == ["d", "d/g"]
    assert world.look(top, lambda root: (root / "d").stat().st_mtime_ns) == 7_000_000_001
    assert world.look(top, lambda root: root.stat().st_mtime_ns) == 8_000_000_001


def test_odd_names_are_kept(world) -> None:
    names = [
        b"with space",
        b"new\nline",
        b"\xff\xfe",
        "ünï".encode(),
        b"-rf",
        b"a" * 255,
        b"back\\slash",
        b"a:b,c",
    ]

    def make(root: Path) -> None:
        for name in names:
            (root / os.fsdecode(name)).write_bytes(name)

    base = world.step(SCRATCH, make)
    top = world.step(base, lambda root: (root / os.fsdecode(names[0])).unlink())
    assert world.look(top, lambda root: set(os.listdir(os.fsencode(root)))) == set(names[1:])


def test_views_and_writers_may_nest(world) -> None:
    base = world.step(world.step(SCRATCH, write(a="1")), write(b="2"))

    def work() -> tuple:
        with (
            world.snapshotter.view(base) as outer,
            world.snapshotter.view(base) as inner,
            world.snapshotter.prepare(base) as one,
            world.snapshotter.prepare(base) as two,
        ):
            (one.path / "a").write_text("one")
            (two.path / "a").write_text("two")
            seen = tuple((path / "a").read_text() for path in (outer, inner, one.path, two.path))
            return seen, one.commit(), two.commit()

    seen, one, two = world.run(work)
    assert seen == ("1", "1", "one", "two")
    assert texts(world, one) == {"a": "one", "b": "2"}
    assert texts(world, two) == {"a": "two", "b": "2"}


def test_layers_work_in_other_stacks(world) -> None:
    """A stack is any sequence of layers: what is upper decides."""
    one = world.step(SCRATCH, write(shared="one", a="1"))
    two = world.step(SCRATCH, write(shared="two", b="2"))
    merged = Snapshot(one.layers + two.layers)
    turned = Snapshot(two.layers + one.layers)
    assert texts(world, merged) == {"shared": "two", "a": "1", "b": "2"}
    assert texts(world, turned) == {"shared": "one", "a": "1", "b": "2"}
    assert texts(world, Snapshot(merged.layers + one.layers))["shared"] == "one"
    grown = world.step(merged, lambda root: (root / "shared").unlink())
    assert texts(world, grown) == {"a": "1", "b": "2"}


@pytest.mark.parametrize("depth", [60, 200])
def test_deep_chains(world, depth) -> None:
    snapshot = SCRATCH
    for number in range(depth):
        path = world.state.work / "next"
        path.mkdir()
        (path / f"f{number}").write_text(str(number))
        (path / "last").write_text(str(number))
        snapshot = Snapshot((*snapshot.layers, world.layers.adopt(path)))
    top = world.step(snapshot, lambda root: (root / "f0").unlink())
    found = texts(world, top)
    assert len(found) == depth
    assert found["last"] == str(depth - 1)
    assert "f0" not in found


def opaque_root(world: World, **files: str) -> Snapshot:
    """Adopt a layer whose root hides everything below it, as an image's layer with ``.wh..wh..opq`` at its top does."""
    path = world.state.work / "opaque"
    path.mkdir()
    write(**files)(path)
    make_opaque(os.fspath(path))
    return Snapshot((world.layers.adopt(path),))


def test_an_opaque_root_hides_all_layers_below(world) -> None:
    below = world.step(world.step(SCRATCH, write(a="1", d__old="1")), write(b="2"))
    hiding = opaque_root(world, d__new="3", c="3")
    stack = Snapshot(below.layers + hiding.layers)
    assert texts(world, hiding) == {"d/new": "3", "c": "3"}
    assert texts(world, stack) == {"d/new": "3", "c": "3"}
    assert texts(world, world.step(stack, write(a="4"))) == {"d/new": "3", "c": "3", "a": "4"}
    above = Snapshot(stack.layers + below.layers)
    assert texts(world, above) == {"a": "1", "b": "2", "c": "3", "d/new": "3", "d/old": "1"}
    again = Snapshot(above.layers + opaque_root(world).layers)
    assert world.look(again) == {}
    assert texts(world, world.step(again, write(e="5"))) == {"e": "5"}
