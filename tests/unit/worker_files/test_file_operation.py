# SPDX-License-Identifier: Apache-2.0
"""File ops on real snapshots: what each action does to what is already there."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import stat
import tarfile

import pytest

from llbkit.llb.ir import ops
from llbkit.llb.ir.ops import Chown, Copy, MkDir, MkFile, NamedUser, Rm, Symlink
from llbkit.worker.base import SCRATCH, FileOpError, Snapshot, SourceError, StorageError
from llbkit.worker.session.directory import LocalDirectory
from llbkit.worker.sources.localtree import LocalTree
from llbkit.worker.sources.statcache import StatCache

pytestmark = pytest.mark.root

KEEP = -1


def cp(src: str, dest: str, **more: object) -> Copy:
    """Return a copy with the flags that a Dockerfile's COPY has."""
    flags = {
        "mode": -1, "timestamp": KEEP, "follow_symlink": True, "dir_copy_contents": True, "create_dest_path": True,
        "allow_wildcard": True, "allow_empty_wildcard": True, **more,
    }  # fmt: skip
    return Copy(src=src, dest=dest, **flags)


def contents(look: dict[str, tuple]) -> dict[str, object]:
    """Return path -> content of files, target of links, None of directories."""
    return {path: None if node[0] == "dir" else node[-1] for path, node in look.items()}


@pytest.fixture
def source(world):
    return world.make({"d/f": b"f", "d/sub/g": b"g", "d/l": "f", "x1": b"1", "x2": b"2", "to": "d"})


# -- destinations


def test_a_file_takes_the_name_of_its_destination(world, source) -> None:
    assert contents(world.look(world.files(cp("/x1", "/a/b"), source=source))) == {"a": None, "a/b": b"1"}


def test_a_trailing_slash_makes_a_directory(world, source) -> None:
    assert contents(world.look(world.files(cp("/x1", "/a/"), source=source))) == {"a": None, "a/x1": b"1"}


def test_a_file_goes_into_an_existing_directory(world, source) -> None:
    base = world.make({"a": None})
    assert contents(world.look(world.files(cp("/x1", "/a"), base=base, source=source)))["a/x1"] == b"1"


def test_a_file_replaces_a_file_and_writes_through_a_link_in_the_root(world, source) -> None:
    base = world.make({"old": b"old", "real": b"real", "link": "/real"})
    look = contents(world.look(world.files(cp("/x1", "/old"), cp("/x2", "/link"), base=base, source=source)))
    assert (look["old"], look["real"], look["link"]) == (b"1", b"2", "/real")


def test_directory_contents_merge_into_the_destination(world, source) -> None:
    base = world.make({"a/keep": b"k", "a/f": b"old"})
    look = contents(world.look(world.files(cp("/d", "/a"), base=base, source=source)))
    assert look == {"a": None, "a/keep": b"k", "a/f": b"f", "a/sub": None, "a/sub/g": b"g", "a/l": "f"}


def test_without_contents_a_directory_goes_into_an_existing_one(world, source) -> None:
    base = world.make({"a": None})
    look = contents(
        world.look(world.files(cp("/d", "/a", dir_copy_contents=False), base=base, source=source))
    )
    assert look["a/d/f"] == b"f"
    look = contents(
        world.look(world.files(cp("/d", "/new", dir_copy_contents=False), base=base, source=source))
    )
    assert look["new/f"] == b"f"


def test_a_directory_cannot_replace_a_file_below(world, source) -> None:
    base = world.make({"a/sub": b"file"})
    with pytest.raises(FileOpError, match="cannot copy to non-directory: /a/sub"):
        world.files(cp("/d", "/a"), base=base, source=source)


def test_a_file_cannot_replace_a_directory(world, source) -> None:
    base = world.make({"a/f/deep": b"x"})
    with pytest.raises(FileOpError, match="cannot replace directory /a/f"):
        world.files(cp("/d", "/a"), base=base, source=source)


def test_replacing_removes_whatever_is_in_the_way(world, source) -> None:
    base = world.make({"a/f/deep": b"x", "a/sub": "elsewhere", "a/keep": b"k"})
    copy = cp("/d", "/a", always_replace_existing_dest_paths=True)
    look = contents(world.look(world.files(copy, base=base, source=source)))
    assert look == {"a": None, "a/f": b"f", "a/sub": None, "a/sub/g": b"g", "a/l": "f", "a/keep": b"k"}


def test_links_in_the_destination_stay_in_the_root(world, source, tmp_path) -> None:
    base = world.make({"etc": None, "esc": "../../../../etc", "abs": str(tmp_path)})
    look = contents(
        world.look(world.files(cp("/x1", "/esc/p"), cp("/x2", "/abs/q"), base=base, source=source))
    )
    assert look["etc/p"] == b"1"
    assert look[f"{tmp_path}/q".lstrip("/")] == b"2"
    assert not (tmp_path / "q").exists()


def test_a_link_below_the_destination_is_replaced_not_followed(world, source) -> None:
    base = world.make({"a/f": "../victim", "victim": b"safe"})
    look = contents(world.look(world.files(cp("/d", "/a"), base=base, source=source)))
    assert (look["a/f"], look["victim"]) == (b"f", b"safe")


def test_missing_parents_are_an_error_if_not_to_be_created(world, source) -> None:
    with pytest.raises(FileOpError, match="no such directory: /no"):
        world.files(cp("/x1", "/no/where", create_dest_path=False), source=source)


def test_circular_links_are_an_error(world, source) -> None:
    base = world.make({"p": "q", "q": "p"})
    with pytest.raises(FileOpError, match="too many levels"):
        world.files(cp("/x1", "/p/f"), base=base, source=source)


def test_a_full_disk_is_reported_as_the_storage_s(world, source, monkeypatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("llbkit.worker.fs.copy.write_all", full)
    monkeypatch.setattr("llbkit.worker.fs.bytescopy.os.copy_file_range", full)
    with pytest.raises(StorageError):
        world.files(cp("/x1", "/a"), source=source)


# -- sources


def test_a_source_that_leads_in_circles_is_an_error(world) -> None:
    source = world.make({"p": "q", "q": "p"})
    with pytest.raises(SourceError, match="too many levels"):
        world.files(cp("/p", "/"), source=source)
    with pytest.raises(FileOpError, match="not a directory"):
        world.files(cp("/f", "/g/h"), base=world.make({"g": b""}), source=world.make({"f": b""}))


def test_wildcards_take_each_match(world, source) -> None:
    assert set(world.look(world.files(cp("/x?", "/a/"), source=source))) == {"a", "a/x1", "a/x2"}


def test_no_match_is_nothing_or_an_error(world, source) -> None:
    assert world.look(world.files(cp("/none*", "/a/"), source=source)) == {}
    with pytest.raises(FileOpError, match="not found"):
        world.files(cp("/none*", "/a/", allow_empty_wildcard=False), source=source)


def test_a_link_as_source_is_followed_or_kept(world, source) -> None:
    assert contents(world.look(world.files(cp("/to", "/a"), source=source)))["a/f"] == b"f"
    kept = world.files(cp("/to", "/a", follow_symlink=False), source=source)
    assert contents(world.look(kept)) == {"a": "d"}


def test_patterns_choose_and_bring_the_directories_above(world, source) -> None:
    copy = cp("/", "/a/", include_patterns=("d/sub/g",), required_paths=("/d/sub/g",))
    assert set(world.look(world.files(copy, source=source))) == {"a", "a/d", "a/d/sub", "a/d/sub/g"}
    copy = cp("/d", "/a/", exclude_patterns=("sub", "l"))
    assert set(world.look(world.files(copy, source=source))) == {"a", "a/f"}
    every = set(world.look(world.files(cp("/d", "/a/"), source=source)))
    assert (
        set(world.look(world.files(cp("/d", "/a/", exclude_patterns=("/sub", "/d/sub")), source=source)))
        == every
    )


def test_a_required_path_must_exist(world, source) -> None:
    copy = cp("/", "/a/", include_patterns=("d/nope",), required_paths=("/d/nope",))
    with pytest.raises(FileOpError, match='"/d/nope" not found'):
        world.files(copy, source=source)


def test_a_missing_source_names_the_nearest(world, source) -> None:
    item = ops.FileAction(action=cp("/d/sbu/g", "/"), input=-1, secondary_input=0, output=0)
    with pytest.raises(FileOpError, match='"/d/sbu/g" not found in docker-image://x') as caught:
        world.run(ops.File(actions=(item,)), source)
    assert "/d/sub" in caught.value.help


def test_a_source_excluded_by_the_ignore_file_says_so(world, tmp_path, helpers) -> None:
    (tmp_path / "ctx").mkdir()
    helpers.fill(tmp_path / "ctx", {"secret.txt": b"s", "main.py": b"m"})
    tree = LocalTree(LocalDirectory(tmp_path / "ctx"), StatCache("x", None), exclude=["secret.txt"])
    with pytest.raises(FileOpError, match=r"excluded by \.dockerignore") as caught:
        world.files(cp("/secret.txt", "/"), source=tree)
    assert "!secret.txt" in caught.value.help


def test_hard_links_stay_links_and_attributes_stay(world) -> None:
    def work(token: object) -> Snapshot:
        with world.snapshotter.prepare(SCRATCH) as active:
            (active.path / "a").write_bytes(b"same")
            os.link(active.path / "a", active.path / "b")
            os.setxattr(active.path / "a", "user.x", b"1")
            os.mkfifo(active.path / "pipe")
            with open(active.path / "sparse", "wb") as file:
                file.truncate(8 << 20)
                file.seek(4 << 20)
                file.write(b"middle")
            return active.commit()

    source = world.pools.run_sync("disk", work)
    copied = world.files(cp("/", "/t/"), source=source)

    def facts(path):
        return (
            os.stat(path / "t/a").st_ino == os.stat(path / "t/b").st_ino,
            os.getxattr(path / "t/b", "user.x"),
            stat.S_ISFIFO(os.stat(path / "t/pipe").st_mode),
            os.stat(path / "t/sparse").st_blocks * 512 < 4 << 20,
            (path / "t/sparse").read_bytes() == bytes(4 << 20) + b"middle" + bytes((4 << 20) - 6),
        )

    assert world.inside(copied, facts) == (True, b"1", True, True, True)


def test_a_context_belongs_to_root_and_keeps_modes(world, tmp_path, helpers) -> None:
    root = tmp_path / "ctx"
    root.mkdir()
    helpers.fill(root, {"bin/run": b"#!"})
    (root / "bin").chmod(0o750)
    os.chown(root / "bin/run", 12, 34)
    (root / "bin/run").chmod(0o4755)
    look = world.look(
        world.files(cp("/", "/a/"), source=LocalTree(LocalDirectory(root), StatCache(str(root), None)))
    )
    assert look["a/bin/run"][1:3] == (0o4755, "0:0")
    assert look["a/bin"] == ("dir", 0o750, "0:0")


def test_modes_survive_any_umask(world, tmp_path, helpers) -> None:
    root = tmp_path / "ctx"
    root.mkdir()
    helpers.fill(root, {"open": b"o"})
    (root / "open").chmod(0o666)
    assert (
        world.look(
            world.files(cp("/", "/"), source=LocalTree(LocalDirectory(root), StatCache(str(root), None)))
        )["open"][1]
        == 0o666
    )


# -- metadata


def test_owner_mode_and_time_are_set(world, source) -> None:
    copy = cp("/d", "/n", owner=Chown(user=5, group=6), mode=0o640, timestamp=7_000_000_000)
    result = world.files(copy, source=source)
    look = world.look(result)
    assert look["n"] == ("dir", 0o640, "5:6")
    assert look["n/f"][1:3] == (0o640, "5:6")
    assert look["n/sub"] == ("dir", 0o640, "5:6")
    assert look["n/l"] == ("link", "5:6", "f")
    assert world.inside(result, lambda p: os.lstat(p / "n/f").st_mtime_ns) == 7_000_000_000


def test_a_number_alone_is_user_and_group(world, source) -> None:
    assert world.look(world.files(cp("/x1", "/a", owner=Chown(user=9)), source=source))["a"][2] == "9:9"


def test_names_are_looked_up_in_the_base(world, source) -> None:
    base = world.make(
        {"etc/passwd": b"root:x:0:0::/:\napp:x:100:101::/:\n", "etc/group": b"root:x:0:\nstaff:x:50:\n"}
    )
    by_user = world.files(cp("/x1", "/a", owner=Chown(user=NamedUser(name="app"))), base=base, source=source)
    assert world.look(by_user)["a"][2] == "100:101"
    owner = Chown(user=NamedUser(name="app"), group=NamedUser(name="staff"))
    assert world.look(world.files(MkDir(path="/w", mode=0o755, owner=owner), base=base))["w"][2] == "100:50"


@pytest.mark.parametrize(
    ("user", "group", "expected"),
    [
        ("nobody", None, "0:0"), ("odd", None, "0:7"), ("short", None, "9:0"), ("large", None, "0:4294967294"),
        (5, "nobody", "5:5"), ("nobody", 6, "0:6"), (None, "nobody", "0:0"), ("app", "nobody", "100:101"),
    ],
)  # fmt: skip
def test_names_that_nobody_has_count_as_root(world, source, user, group, expected) -> None:
    base = world.make(
        {
            "etc/passwd": b"\nodd:x:many:7:\n app:x:100:101\nshort:x:9\nlarge:x:4294967296:-2::\n",
            "etc/group": b"root:x:0:\n",
        }
    )
    options = [NamedUser(name=name) if isinstance(name, str) else name for name in (user, group)]
    made = world.files(
        cp("/x1", "/a", owner=Chown(user=options[0], group=options[1])), base=base, source=source
    )
    assert world.look(made)["a"][2] == expected


def test_without_a_passwd_file_names_count_as_root(world, source) -> None:
    made = world.files(
        cp("/x1", "/a", owner=Chown(user=NamedUser(name="app"))), base=world.make({"b": b""}), source=source
    )
    assert world.look(made)["a"][2] == "0:0"


def test_an_existing_destination_keeps_its_metadata_but_directories_below_do_not(world, source) -> None:
    def work(token: object) -> Snapshot:
        with world.snapshotter.prepare(SCRATCH) as active:
            for name in ("a", "a/sub"):
                (active.path / name).mkdir()
                (active.path / name).chmod(0o700)
            return active.commit()

    base = world.pools.run_sync("disk", work)
    look = world.look(world.files(cp("/d", "/a"), base=base, source=source))
    assert (look["a"][1], look["a/sub"][1]) == (0o700, 0o755)


# -- archives


def archive(kind: str, *members: tuple[str, bytes | None, str]) -> bytes:
    buffer = io.BytesIO()
    mode = {"gzip": "w:gz", "bzip2": "w:bz2", "xz": "w:xz"}.get(kind, "w")
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, data, link in members:
            info = tarfile.TarInfo(name)
            info.mtime, info.mode, info.uid, info.gid = 5, 0o640, 7, 8
            if data is not None:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            else:
                info.type = tarfile.SYMTYPE if link else tarfile.DIRTYPE
                info.linkname, info.mode = link, 0o755
                tar.addfile(info)
    data = buffer.getvalue()
    if kind == "zstd":
        import zstandard

        data = zstandard.compress(data)
    return data


@pytest.mark.parametrize("kind", ["tar", "gzip", "bzip2", "xz", "zstd"])
def test_archives_are_unpacked_whatever_their_name(world, kind) -> None:
    source = world.make(
        {"thing.bin": archive(kind, ("d", None, ""), ("d/f", b"data", ""), ("l", None, "d/f"))}
    )
    look = world.look(world.files(cp("/thing.bin", "/opt/x", attempt_unpack=True), source=source))
    assert look["opt/x/d/f"] == ("file", 0o640, "7:8", b"data")
    assert look["opt/x/l"] == ("link", "7:8", "d/f")


@pytest.mark.parametrize("data", [b"", b"plain text", bytes(4096), b"\x1f\x8b\x08garbage", b"BZh9"])
def test_what_is_no_archive_is_copied(world, data) -> None:
    source = world.make({"f.tar": data})
    look = world.look(world.files(cp("/f.tar", "/opt/", attempt_unpack=True), source=source))
    assert look["opt/f.tar"][3] == data


def test_archive_members_stay_below_the_destination(world) -> None:
    evil = archive(
        "tar", ("/../up", b"1", ""), ("/abs", b"2", ""), ("out", None, "/etc"), ("out/p", b"3", "")
    )
    base = world.make({"etc/keep": b"k"})
    source = world.make({"e.tar": evil})
    look = contents(
        world.look(world.files(cp("/e.tar", "/in/", attempt_unpack=True), base=base, source=source))
    )
    assert {p for p in look if not p.startswith("in")} == {"etc", "etc/keep"}
    assert (look["in/up"], look["in/abs"], look["in/etc/p"]) == (b"1", b"2", b"3")


def test_a_truncated_archive_is_an_error(world) -> None:
    data = archive("gzip", ("f", os.urandom(100_000), ""))
    source = world.make({"e.tgz": data[: len(data) // 2]})
    with pytest.raises(FileOpError, match=r"e\.tgz: damaged"):
        world.files(cp("/e.tgz", "/in/", attempt_unpack=True), source=source)


# -- the other actions


def test_mkfile_creates_overwrites_and_keeps_the_mode(world) -> None:
    first = world.files(MkFile(path="/f", mode=0o600, data=b"1", timestamp=KEEP))
    assert world.look(first)["f"] == ("file", 0o600, "0:0", b"1")
    again = world.files(MkFile(path="/f", mode=0o644, data=b"22", owner=Chown(user=3, group=4)), base=first)
    assert world.look(again)["f"] == ("file", 0o600, "3:4", b"22")


def test_mkfile_needs_a_parent_and_no_directory(world) -> None:
    with pytest.raises(FileOpError, match="no such directory: /no"):
        world.files(MkFile(path="/no/f", mode=0o644))
    with pytest.raises(FileOpError, match="is a directory"):
        world.files(MkFile(path="/d", mode=0o644), base=world.make({"d": None}))


def test_mkdir_makes_parents_and_leaves_what_exists(world) -> None:
    base = world.make({"a": None, "l": "/a"})
    look = world.look(
        world.files(MkDir(path="/l/b/c", mode=0o711, make_parents=True, timestamp=KEEP), base=base)
    )
    assert (look["a"][1], look["a/b"][1], look["a/b/c"][1]) == (0o755, 0o711, 0o711)
    assert world.look(world.files(MkDir(path="/a", mode=0o700, timestamp=KEEP), base=base))["a"][1] == 0o755
    with pytest.raises(FileOpError, match="no such directory"):
        world.files(MkDir(path="/x/y", mode=0o755))
    with pytest.raises(FileOpError, match="not a directory"):
        world.files(MkDir(path="/f/y", mode=0o755, make_parents=True), base=world.make({"f": b""}))


def test_rm_removes_links_not_their_targets(world) -> None:
    base = world.make({"d/f": b"f", "l": "d", "x1": b"", "x2": b""})
    look = world.look(world.files(Rm(path="/l"), Rm(path="/x*", allow_wildcard=True), base=base))
    assert set(look) == {"d", "d/f"}
    assert set(world.look(world.files(Rm(path="/l/f"), base=base))) == {"d", "l", "x1", "x2"}


def test_rm_of_nothing_or_of_the_root_is_an_error(world) -> None:
    with pytest.raises(FileOpError, match="no such file"):
        world.files(Rm(path="/a"))
    assert world.look(world.files(Rm(path="/a", allow_not_found=True))) == {}
    with pytest.raises(FileOpError, match="root"):
        world.files(Rm(path="/"))


def test_symlinks_are_made_as_written_and_never_replace(world) -> None:
    made = world.files(
        Symlink(oldpath="../any where", newpath="/l", owner=Chown(user=1, group=2), timestamp=KEEP)
    )
    assert world.look(made)["l"] == ("link", "1:2", "../any where")
    with pytest.raises(FileOpError, match="already exists"):
        world.files(Symlink(oldpath="x", newpath="/l"), base=made)


# -- chains


def test_a_chain_makes_one_layer(world, source) -> None:
    made = world.files(MkDir(path="/a", mode=0o755), cp("/x1", "/a/"), Rm(path="/a/x1"), source=source)
    assert len(made.layers) == 1


def test_intermediate_results_can_be_copied_from_and_returned(world) -> None:
    action = ops.FileAction
    op = ops.File(
        actions=(
            action(action=MkFile(path="/f", mode=0o644, data=b"1"), input=-1, secondary_input=-1, output=0),
            action(action=MkFile(path="/f", mode=0o644, data=b"2"), input=0, secondary_input=-1, output=-1),
            action(action=cp("/f", "/first"), input=1, secondary_input=0, output=1),
            action(action=Rm(path="/f"), input=1, secondary_input=-1, output=2),
        )
    )
    first, second, third = map(contents, map(world.look, world.run(op)))
    assert first == {"f": b"1"}
    assert second == {"f": b"2", "first": b"1"}
    assert third == {}


def test_a_chain_without_an_output_zero_is_refused(world) -> None:
    item = ops.FileAction(action=MkDir(path="/a"), input=-1, secondary_input=-1, output=1)
    with pytest.raises(Exception, match="outputs"):
        world.run(ops.File(actions=(item,)))


def test_a_failed_chain_leaves_no_layer(world, source) -> None:
    before = len(world.layers.layers())
    with pytest.raises(FileOpError):
        world.files(MkDir(path="/a", mode=0o755), cp("/nope", "/a/"), source=source)
    assert len(world.layers.layers()) == before


# -- keys


def cache_map(world, *actions: ops.Action, source: str = "docker-image://x"):
    items = tuple(
        ops.FileAction(action=a, input=0, secondary_input=1 if isinstance(a, Copy) else -1, output=0)
        for a in actions
    )
    return asyncio.run(world.operation(ops.File(actions=items), 2, source=source).cache_map(None))


def test_bases_count_by_definition_and_sources_by_selected_content(world) -> None:
    base, source = cache_map(world, cp("/x", "/a")).inputs
    assert (base.content, source.content) == (False, True)
    assert '"src":"/x"' in source.selector
    assert cache_map(world, cp("/x", "/a"), source="local://ctx").inputs[0].content


@pytest.mark.parametrize(
    "other",
    [
        {"dest": "/b"}, {"mode": 0o600}, {"owner": Chown(user=1)}, {"timestamp": 5}, {"exclude_patterns": ("x",)},
        {"mode_str": "u+x"}, {"attempt_unpack": True}, {"owner": Chown(user=NamedUser(name="n"))},
    ],
)  # fmt: skip
def test_what_changes_the_result_changes_the_key(world, other) -> None:
    fields = {"dest": "/a", **other}
    assert cache_map(world, cp("/x", **fields)).digest != cache_map(world, cp("/x", "/a")).digest


def test_file_data_is_in_the_key_as_a_digest(world) -> None:
    one, two = (cache_map(world, MkFile(path="/f", data=data)) for data in (b"secret 1", b"secret 2"))
    assert one.digest != two.digest
    assert "secret" not in str(one.ingredients)


def test_equal_content_has_equal_keys_from_a_directory_and_from_a_snapshot(world, tmp_path, helpers) -> None:
    root = tmp_path / "ctx"
    root.mkdir()
    entries = {"d/f": b"f", "d/sub/g": b"g", "d/l": "f"}
    helpers.fill(root, entries)
    items = (ops.FileAction(action=cp("/d", "/a/"), input=0, secondary_input=1, output=0),)
    operation = world.operation(ops.File(actions=items), 2)
    values = (LocalTree(LocalDirectory(root), StatCache(str(root), None)), world.make(entries))
    first, second = (asyncio.run(operation.content_key(1, value, None)) for value in values)
    assert first.digest == second.digest
    again = asyncio.run(operation.content_key(1, values[1], None))
    assert again == second


@pytest.mark.parametrize("missing", ["/d/nope", "/nope/*", "/d\\\\f"])
@pytest.mark.parametrize("local", [True, False])
def test_a_missing_source_is_an_error_before_the_base_is_made(
    world, tmp_path, helpers, missing, local
) -> None:
    """BuildKit finds it when it computes the cache key, while the steps before the copy still run."""
    (tmp_path / "ctx").mkdir()
    helpers.fill(tmp_path / "ctx", {"d/f": b"f"})
    value = (
        LocalTree(LocalDirectory(tmp_path / "ctx"), StatCache(str(tmp_path / "ctx"), None))
        if local
        else world.make({"d/f": b"f"})
    )
    items = tuple(
        ops.FileAction(
            action=cp(src, "/a/", allow_wildcard=True), input=base, secondary_input=1, output=output
        )
        for src, base, output in (("/d/f", 0, -1), (missing, 2, 0))
    )
    operation = world.operation(ops.File(actions=items), 2)
    for _ in range(2):  # the key of a snapshot is remembered
        with pytest.raises(FileOpError, match="not found") as caught:
            asyncio.run(operation.content_key(1, value, None))
        assert caught.value.part == 1


@pytest.mark.parametrize("source", ["/", "/*", "/x*"])
def test_copies_from_an_empty_stage_copy_nothing(world, source) -> None:
    item = ops.FileAction(
        action=Copy(
            src=source, dest="/y/", mode=-1, timestamp=-1, create_dest_path=True, dir_copy_contents=True,
            allow_wildcard=True, allow_empty_wildcard=True,
        ),
        input=-1, secondary_input=-1, output=0,
    )  # fmt: skip
    (made,) = world.run(ops.File(actions=(item,)))
    assert set(world.look(made)) <= {"y"}


def test_a_name_in_an_empty_stage_is_not_found(world) -> None:
    copy = Copy(src="/x", dest="/y/", mode=-1, timestamp=-1, create_dest_path=True)
    item = ops.FileAction(action=copy, input=-1, secondary_input=-1, output=0)
    with pytest.raises(FileOpError, match="/x"):
        world.run(ops.File(actions=(item,)))


def test_names_of_files_are_copied_as_hard_links_those_of_symbolic_links_are_not(world) -> None:
    """As BuildKit does, within a stage and from a context."""

    def work(token: object):
        with world.snapshotter.prepare(SCRATCH) as active:
            (active.path / "f").write_text("1")
            (active.path / "l").symlink_to("f")
            for name in "fl":
                os.link(active.path / name, active.path / f"{name}2", follow_symlinks=False)
            return active.commit()

    source = world.pools.run_sync("disk", work)
    made = world.files(cp("/", "/x/"), source=source)
    counts = world.inside(made, lambda root: [(root / "x" / name).lstat().st_nlink for name in ("f", "l")])
    assert counts == [2, 1]


@pytest.mark.parametrize(
    ("path", "said"),
    [("/dangling", "/dangling is a dangling symbolic link to nowhere"), ("/danglin/x", "/dangling?"),
     ("/dangling/x", "/dangling is a dangling symbolic link to nowhere"), ("/file/x", "/file is not a directory")],
)  # fmt: skip
def test_what_is_there_is_not_suggested_instead_of_itself(world, path, said) -> None:
    source = world.make({"dangling": "nowhere", "file": b"x"})
    with pytest.raises(FileOpError) as caught:
        world.files(cp(path, "/a"), source=source)
    assert said in str(caught.value.help)
