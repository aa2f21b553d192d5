# SPDX-License-Identifier: Apache-2.0
"""What ADD makes of odd archives. Expectations were recorded from BuildKit, but where a docstring says otherwise."""

from __future__ import annotations

import gzip
import io
import os
import random
import stat
import tarfile

import pytest
import zstandard

from llbkit.llb.ir.ops import Chown, Copy
from llbkit.worker.base import SCRATCH, FileOpError

TIME, EARLIER, LATER = 1_500_000_000, 1_400_000_000, 1_450_000_000
FILE, LINK, SYMBOLIC, DIRECTORY = tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE
CAPABILITY = "\1\0\0\2\0\4" + "\0" * 14

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, kind: bytes = FILE, data: bytes = b"", **more: object) -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mtime = kind, len(data), TIME
    info.mode = 0o755 if kind == DIRECTORY else 0o644
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def tar(*members: Member, end: bytes = bytes(1024)) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
        length = archive.offset
    return buffer.getvalue()[:length] + end


def add(world, data: bytes, *, owner: Chown | None = None) -> dict[str, tuple]:
    """Return path -> (kind, mode, owner, whole seconds, content or target) of what is in ``/x`` afterwards."""
    copy = Copy(
        src="/a.tar", dest="/x/", mode=-1, timestamp=-1, follow_symlink=True, dir_copy_contents=True,
        create_dest_path=True, attempt_unpack=True, owner=owner,
    )  # fmt: skip
    made = world.files(copy, source=world.make({"a.tar": data}))

    def look(root) -> dict[str, tuple]:
        found = {}
        for path in [root / "x", *(root / "x").rglob("*")]:
            status = path.lstat()
            kind = stat.S_IFMT(status.st_mode)
            content = path.read_bytes() if kind == stat.S_IFREG else b""
            found[str(path.relative_to(root / "x"))] = (
                {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}.get(kind, "other"),
                stat.S_IMODE(status.st_mode), f"{status.st_uid}:{status.st_gid}",
                "now" if status.st_mtime > 1_700_000_000 else int(status.st_mtime),
                os.readlink(path) if kind == stat.S_IFLNK else content,
            )  # fmt: skip
        return found

    found = world.inside(made, look)
    assert found.pop(".")[:4] == ("dir", 0o755, f"{owner.user}:{owner.group}" if owner else "0:0", "now")
    return found


def test_implied_parents_belong_to_root(world) -> None:
    found = add(world, tar(member("a/b", data=b"x", uid=5, gid=6)))
    assert found == {"a": ("dir", 0o755, "0:0", "now", b""), "a/b": ("file", 0o644, "5:6", TIME, b"x")}


def test_implied_parents_in_a_set_group_id_directory_have_its_group_but_not_its_bit(world) -> None:
    def work(token: object):
        with world.snapshotter.prepare(SCRATCH) as active:
            made = active.path / "x"
            made.mkdir()
            os.chown(made, 0, 33)
            made.chmod(0o2775)
            return active.commit()

    base = world.pools.run_sync("disk", work)
    copy = Copy(
        src="/a.tar", dest="/x/", mode=-1, timestamp=-1, create_dest_path=True, attempt_unpack=True,
        owner=Chown(user=0, group=0),
    )  # fmt: skip
    made = world.files(copy, base=base, source=world.make({"a.tar": tar(member("d/e/f"))}))

    def look(root) -> list[tuple[int, int]]:
        found = [(root / path).stat() for path in ("x/d", "x/d/e", "x/d/e/f")]
        return [(stat.S_IMODE(status.st_mode), status.st_gid) for status in found]

    assert world.inside(made, look) == [(0o755, 33), (0o755, 0), (0o644, 0)]


def test_an_owner_is_for_all_members_but_not_for_implied_parents(world) -> None:
    data = tar(
        member("a/b", uid=5), member("d", DIRECTORY, uid=9), member("l", SYMBOLIC, linkname="d"),
        member("h", LINK, linkname="a/b", uid=4),
    )  # fmt: skip
    found = add(world, data, owner=Chown(user=7, group=8))
    assert {path: node[2] for path, node in found.items()} == {
        "a": "0:0", "a/b": "7:8", "d": "7:8", "l": "7:8", "h": "7:8",
    }  # fmt: skip


@pytest.mark.parametrize("name", [".", "./", "/"])
def test_the_root_of_an_archive_is_passed_over(world, name) -> None:
    found = add(world, tar(member(name, DIRECTORY, mode=0o700, uid=5), member("f", data=b"x")))
    assert found == {"f": ("file", 0o644, "0:0", TIME, b"x")}


def test_later_members_replace_earlier_ones_and_directories_merge(world) -> None:
    found = add(
        world,
        tar(
            member("d", DIRECTORY, mode=0o700, mtime=EARLIER), member("d/f", data=b"1"),
            member("d", DIRECTORY, mode=0o711, uid=4, mtime=LATER),
            member("f", data=b"1"), member("f", SYMBOLIC, linkname="g"), member("f", data=b"22", mode=0o600),
            member("e", DIRECTORY), member("e/f"), member("e", data=b"now a file"),
            member("k"), member("k", DIRECTORY), member("k/f", data=b"k"),
        ),
    )  # fmt: skip
    assert found == {
        "d": ("dir", 0o711, "4:0", LATER, b""), "d/f": ("file", 0o644, "0:0", TIME, b"1"),
        "f": ("file", 0o600, "0:0", TIME, b"22"), "e": ("file", 0o644, "0:0", TIME, b"now a file"),
        "k": ("dir", 0o755, "0:0", TIME, b""), "k/f": ("file", 0o644, "0:0", TIME, b"k"),
    }  # fmt: skip


def test_the_header_of_a_hard_link_counts_for_the_file(world) -> None:
    found = add(
        world,
        tar(
            member("s/f", data=b"1", mode=0o4755, uid=1, mtime=EARLIER),
            member("s/h", LINK, linkname="./s/f", mode=0o755, uid=9, gid=8, mtime=LATER),
        ),
    )
    assert found["s/f"] == found["s/h"] == ("file", 0o755, "9:8", LATER, b"1")


def test_the_header_of_a_hard_link_to_a_link_counts_for_its_owner_only(world) -> None:
    found = add(
        world,
        tar(
            member("f", data=b"1"), member("s", SYMBOLIC, linkname="f", uid=1),
            member("h", LINK, linkname="s", uid=5, mode=0o600, mtime=LATER),
        ),
    )  # fmt: skip
    assert found["s"] == found["h"] == ("link", 0o777, "5:0", TIME, "f")
    assert found["f"] == ("file", 0o644, "0:0", TIME, b"1")


def test_a_hard_link_leaves_the_capabilities_of_its_file(world) -> None:
    """BuildKit loses them."""
    copy = Copy(src="/a.tar", dest="/x/", mode=-1, timestamp=-1, create_dest_path=True, attempt_unpack=True)
    data = tar(
        member("f", data=b"1", uid=3, pax_headers={"SCHILY.xattr.security.capability": CAPABILITY}),
        member("h", LINK, linkname="f", uid=3),
    )
    made = world.files(copy, source=world.make({"a.tar": data}))
    kept = world.inside(made, lambda root: os.getxattr(root / "x/f", "security.capability"))
    assert kept == CAPABILITY.encode("latin-1")


def test_user_attributes_of_a_symbolic_link_are_left_out(world) -> None:
    link = member("s", SYMBOLIC, linkname="f", pax_headers={"SCHILY.xattr.user.note": "1"})
    assert add(world, tar(link))["s"][0] == "link"


@pytest.mark.parametrize("mtime", [-100, -5.5, 10**11])
@pytest.mark.parametrize("kind", [FILE, DIRECTORY, SYMBOLIC])
def test_times_out_of_range_are_1970(world, kind, mtime) -> None:
    assert add(world, tar(member("m", kind, mtime=mtime, linkname="n")))["m"][3] == 0


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([member("../up")], "invalid entry name"),
        ([member("a/../../b")], "invalid entry name"),
        ([member("f"), member("h", LINK, linkname="../f")], "invalid hardlink target"),
        ([member("f"), member("v", b"V")], "unhandled tar header type"),
        ([member("f"), member("z", b"Z")], "unhandled tar header type"),
        ([member("f"), member("c", b"7", b"contiguous")], "unhandled tar header type"),
    ],
)
def test_members_that_lead_out_or_have_unknown_types_are_errors(world, members, message) -> None:
    with pytest.raises(FileOpError, match=message):
        add(world, tar(*members))


def test_a_path_from_the_root_means_the_destination(world) -> None:
    data = tar(member("/a", data=b"1"), member("b/../c", data=b"2"), member("/../d", data=b"3"))
    assert {path: node[4] for path, node in add(world, data).items()} == {"a": b"1", "c": b"2", "d": b"3"}


# -- ends


FIRST, SECOND = member("f", data=b"q" * 5000), member("g", data=random.Random(1).randbytes(30_000))


@pytest.mark.parametrize("end", [b"", bytes(512), bytes(1024), bytes(1024) + b"garbage" * 200], ids=len)
def test_an_archive_ends_with_two_blocks_of_zeros_or_the_file(world, end) -> None:
    assert set(add(world, tar(FIRST, SECOND, end=end))) == {"f", "g"}


@pytest.mark.parametrize("end", [b"garbage", b"garbage" * 200, bytes(512) + tar(FIRST)], ids=len)
def test_anything_else_after_the_last_member_is_an_error(world, end) -> None:
    with pytest.raises(FileOpError, match="damaged archive"):
        add(world, tar(FIRST, end=end))


def damaged(data: bytes, at: int) -> bytes:
    copy = bytearray(data)
    copy[at] ^= 1
    return bytes(copy)


GZIP = gzip.compress(tar(FIRST, SECOND), mtime=0)
ZSTD = zstandard.ZstdCompressor(write_checksum=True).compress(tar(FIRST, SECOND))
SKIPPED = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"


@pytest.mark.parametrize(
    "data",
    [
        GZIP + b"garbage" * 50, GZIP + bytes(600), GZIP + GZIP, GZIP[:-4],
        ZSTD + b"garbage" * 50, SKIPPED + ZSTD, ZSTD + SKIPPED,
    ],
    ids=[
        "gzip, garbage", "gzip, zeros", "gzip twice", "gzip, cut trailer",
        "zstd, garbage", "skippable frame, zstd", "zstd, skippable frame",
    ],
)  # fmt: skip
def test_what_is_behind_the_end_does_not_count(world, data) -> None:
    found = add(world, data)
    assert (found["f"][4], found["g"][4]) == (FIRST[1], SECOND[1])


@pytest.mark.parametrize("data", [GZIP[: len(GZIP) // 2], tar(FIRST)[:1500]], ids=["gzip", "tar"])
def test_an_archive_that_is_cut_off_is_an_error(world, data) -> None:
    with pytest.raises(FileOpError, match="damaged archive"):
        add(world, data)


@pytest.mark.parametrize(
    "data",
    [
        b"", bytes(512), bytes(10240), tar(FIRST)[:300], damaged(tar(FIRST), 5), GZIP[:5], GZIP[:20], ZSTD[:20],
        gzip.compress(b""), gzip.compress(bytes(1024)),
    ],
    ids=[
        "empty", "a block of zeros", "no members", "half a header", "a wrong checksum", "a bit of gzip", "cut gzip",
        "cut zstd", "empty gzip", "gzip of no members",
    ],
)  # fmt: skip
def test_what_has_no_first_member_is_copied_as_it_is(world, data) -> None:
    assert add(world, data)["a.tar"][4] == data
