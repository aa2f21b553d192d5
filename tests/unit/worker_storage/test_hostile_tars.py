# SPDX-License-Identifier: Apache-2.0
"""Tars that lie or exaggerate: read as a layer and as an archive of ADD, they end soon, with a message that names them."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import stat
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from llbkit.worker.archive.add import is_archive, unpack
from llbkit.worker.archive.tarread import TarError, TarReader
from llbkit.worker.base import FileOpError, SourceError
from llbkit.worker.exporters.image.rewrite import _copy
from llbkit.worker.fs.descent import remove_tree
from llbkit.worker.host.pools import Pools, Token
from llbkit.worker.snapshot.native import NativeSnapshotter
from llbkit.worker.snapshot.overlay import OverlaySnapshotter
from tests.support import tars
from tests.support.tars import END, extension, header, member, pax, record, sparse_old, sparse_pax

pytestmark = pytest.mark.root

AddArchive = Callable[[bytes], Path]


@pytest.fixture
def add(tmp_path) -> AddArchive:
    """Return what unpacks an archive as ADD does, and returns the directory."""

    def run(data: bytes) -> Path:
        path = tmp_path / "evil.tar"
        path.write_bytes(data)
        root = tmp_path / "root"
        remove_tree(root)
        root.mkdir()
        unpack(os.fspath(path), os.fspath(root), Token())
        return root

    return run


ONE = member(b"first", b"x")  # what follows makes no difference to what the file is
DEEP = b"d/" * 1990
REFUSED = {
    "a pax header of 2 GiB": (extension(b"", claims=2 << 30), "extended header of 2,147,483,648 bytes"),
    "a pax header of 2^60 bytes": (extension(b"", claims=1 << 60), "extended header of"),
    "a GNU name of 2 GiB": (extension(b"", b"L", claims=2 << 30), "extended header of"),
    "5,000 chained headers": (pax(comment=b"x") * 5000, "more than 4 MiB of extended headers"),
    "5,000 chained global headers": (extension(record(b"path", b"x"), b"g") * 5000, "more than 4 MiB"),
    "2,000 attributes": (
        extension(b"".join(record(b"SCHILY.xattr.user.%d" % n, b"x") for n in range(2000))) + member(b"f"),
        "more than 1,000 extended attributes",
    ),
    "a path of 200 kB": (pax(path=b"a/" * 100_000) + member(b"f"), "the name a/a/.* has 200,000 bytes"),
    "a name of 200 kB": (pax(path=b"a" * 200_000) + member(b"f"), "the name aaa.* has 200,000 bytes"),
    "a GNU name of 200 kB": (extension(b"a" * 200_000, b"L") + member(b"f"), "has 200,000 bytes"),
    "a link target of 200 kB": (pax(linkpath=b"a" * 200_000) + header(b"l", b"2"), "the link target aaa.* has 200,000 bytes"),
    "a component of 300 bytes": (pax(path=b"a" * 300) + member(b"f"), "File name too long"),
    "a path 1,990 deep": (pax(path=DEEP + b"f") + member(b"f"), "nested too deeply|File name too long"),
    "an infinite time": (pax(mtime=b"inf") + member(b"f"), "modification time is 'inf'"),
    "a time that is no number": (pax(mtime=b"NaN") + member(b"f"), "modification time is 'NaN'"),
    "a huge time": (pax(mtime=b"9" * 40) + member(b"f"), "modification time out of range"),
    "an owner of 2^40": (header(b"f", uid=1 << 40), "invalid owner 1099511627776"),
    "an owner of 2^40 in a pax header": (pax(uid=b"%d" % (1 << 40)) + member(b"f"), "invalid owner 1099511627776"),
    "a negative owner": (header(b"f", uid=-5), "invalid owner -5"),
    "a negative size": (header(b"f", size=-1), "invalid size -1"),
    "a size of 2^90": (header(b"f", size=1 << 90), "number out of range"),
    "a file that is unexpected end": (header(b"f", size=1 << 50), "unexpected end"),
    "a device with huge numbers": (header(b"f", b"3", device=(1 << 50, 1)), "device numbers"),
    "a device with a negative number": (header(b"f", b"4", device=(-3, 1)), "device numbers"),
    "a number with an underscore": (header(b"f", size=b"1_0"), "invalid number"),
    "a hole of 2^50 bytes": (sparse_old(b"f", 1 << 50, [(0, b"x")]), "more than the free disk space"),
    "a hole of 2^62 bytes, in PAX": (sparse_pax(b"f", 1 << 62, [(5, b"x")], "1.0"), "more than the free disk space"),
    "an endless sparse map": (
        header(b"f", b"S", magic=b"ustar  \0", tail=bytes(41) + b"%011o\0%011o\0" % (0, 0) * 4 + b"\1")
        + (b"%011o\0%011o\0" % (0, 0) * 21 + b"\1" + bytes(7)) * 4000,
        "more than 65,536 segments",
    ),
    "a sparse map that overlaps": (sparse_pax(b"f", 9, [(2, b"xx"), (1, b"x")], "0.1"), "overlap"),
    "a sparse map of a billion pieces": (
        extension(record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.realsize", b"9"))
        + member(b"f", b"1000000000\n".ljust(512, b"1")),
        "more than 65,536 segments",
    ),
    "a sparse map without end": (
        extension(record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.realsize", b"9")) + member(b"f", b"1" * 4096),
        "malformed",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("data", "said"), REFUSED.values(), ids=REFUSED)
def test_a_layer_is_refused_with_its_digest_and_image(storage, data, said) -> None:
    snapshot = storage.lazy(ONE + data + END)
    blob = storage.layers.info(snapshot.layers[0]).blobs[0].digest
    with pytest.raises(SourceError, match=said) as caught:
        storage.layers.ensure(snapshot)
    assert blob in str(caught.value)
    assert "somewhere" in str(caught.value)  # the image
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(("data", "said"), REFUSED.values(), ids=REFUSED)
def test_an_archive_is_refused_with_its_name(add, data, said) -> None:
    with pytest.raises(FileOpError, match=said) as caught:
        add(ONE + data + END)
    assert str(caught.value).startswith("evil.tar: ")
    assert len(str(caught.value)) < 1000


def test_a_bomb_is_not_read_before_it_is_refused() -> None:
    read = 0

    def endless(size: int) -> bytes:
        nonlocal read
        block = extension(b"", claims=1 << 40) if not read else bytes(size)
        read += len(block)
        return block

    with pytest.raises(TarError):
        next(iter(TarReader(endless)))
    assert read <= 2048


def test_a_file_whose_first_header_is_a_bomb_is_no_archive(tmp_path) -> None:
    path = tmp_path / "f"
    path.write_bytes(gzip.compress(extension(b"", claims=2 << 30) + bytes(1 << 20)))
    assert not is_archive(os.fspath(path))


def test_xz_may_not_ask_for_memory_without_bounds(add) -> None:
    packed = bytearray(lzma.compress(ONE + END, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 4096}]))
    at = packed.index(b"\x21\x01", 12) + 2  # the filter's properties: one byte, the dictionary's size
    packed[at] = 40  # 4 GiB - 1
    length = (packed[12] + 1) * 4
    packed[12 + length - 4 : 12 + length] = zlib.crc32(packed[12 : 12 + length - 4]).to_bytes(4, "little")
    with pytest.raises(FileOpError, match="Memory usage limit"):
        add(bytes(packed))


@pytest.mark.parametrize(
    "pack", [lzma.compress, lambda data: lzma.compress(data[:600]) + bytes(4) + lzma.compress(data[600:])]
)
def test_xz_is_read_in_all_its_streams(add, pack) -> None:
    content = os.urandom(300_000)
    root = add(pack(member(b"big", content) + END))
    assert (root / "big").read_bytes() == content


PIECES = [(n * 1000, bytes([65 + n % 26]) * 7) for n in range(60)]
WHOLE = b"".join(data.ljust(1000, b"\0") for _, data in PIECES) + bytes(40_000)
SPARSE = {
    "old": sparse_old(b"s", 100_000, PIECES),
    **{dialect: sparse_pax(b"s", 100_000, PIECES, dialect) for dialect in ("0.0", "0.1", "1.0")},
}


@pytest.mark.parametrize("data", SPARSE.values(), ids=SPARSE)
def test_sparse_files_are_read_in_every_dialect(storage, add, data) -> None:
    data += member(b"behind", b"b") + END
    (layer,) = storage.unpacked(data)
    for root in (layer, add(data)):
        assert (root / "s").read_bytes() == WHOLE
        assert (root / "behind").read_bytes() == b"b"


def test_times_beyond_what_a_filesystem_keeps_are_clamped(storage, add) -> None:
    data = (
        member(b"late", mtime=1 << 60)
        + member(b"early", mtime=-(1 << 60))
        + pax(mtime=b"9" * 17)
        + member(b"pax")
        + END
    )
    (layer,) = storage.unpacked(data)
    for root in (layer, add(data)):
        assert sorted(os.listdir(root)) == ["early", "late", "pax"]


def test_a_directory_that_became_a_link_keeps_its_time_to_itself(tmp_path, add) -> None:
    """The times of directories are set at the end, when a link may stand in their way."""
    outside = tmp_path / "outside"
    (outside / "victim").mkdir(parents=True)
    os.utime(outside / "victim", (7, 7))
    add(
        header(b"d", b"5") + header(b"d/victim", b"5", mtime=5)
        + header(b"d", b"2", target=os.fsencode(outside)) + END
    )  # fmt: skip
    assert os.stat(outside / "victim").st_mtime == 7


def test_deep_directories_cost_no_more_than_their_number(storage, add) -> None:
    """800 nested directories, one by one: each is looked up from the one above, not from the root."""
    data = b"".join(
        extension(b"d/" * depth, b"L") + header(b"d", b"5", mode=0o755) for depth in range(1, 800)
    )
    (layer,) = storage.unpacked(data + END)
    for root in (layer, add(data + END)):
        assert stat.S_ISDIR(os.stat(os.path.join(root, "d/" * 799)).st_mode)


def test_directories_and_files_that_take_turns_take_linear_time(storage) -> None:
    many = b"".join(header(b"k/%d" % n, b"5", mode=0o755) for n in range(3000))
    turns = b"".join(header(b"t/%d" % n, kind) for n in range(500) for kind in (b"5", b"0"))
    (layer,) = storage.unpacked(header(b"k", b"5") + header(b"t", b"5", mode=0o755) + many + turns + END)
    assert len(os.listdir(layer / "t")) == 500


def test_what_follows_the_end_of_a_layer_counts_for_its_digest(storage) -> None:
    data = ONE + END + b"trailing" * 1000
    (layer,) = storage.unpacked(data)
    assert (layer / "first").read_bytes() == b"x"


def test_support_writes_what_tarfile_reads() -> None:
    import io
    import tarfile

    for data in SPARSE.values():
        with tarfile.open(fileobj=io.BytesIO(data + END)) as archive:
            (found,) = archive.getmembers()
            stream = archive.extractfile(found)
            assert stream is not None
            assert stream.read() == WHOLE
    assert tars.record(b"a", b"b") == b"6 a=b\n"


def test_a_link_below_does_not_lead_out_through_a_link_above(storage, helpers, tmp_path) -> None:
    """The lower layer's link is followed through the links of both layers, inside of the root."""
    outside = tmp_path / "outside"
    outside.mkdir()
    below = helpers.archive(("bin", "->usr/bin"), ("usr/bin", None))
    above = helpers.archive(("bin/evil", b"!"), ("usr", f"->{outside}"))
    _, layer = storage.unpacked(below, above)
    assert os.listdir(outside) == []
    inside = os.path.join(layer, os.fspath(outside)[1:], "bin/evil")
    assert Path(inside).read_bytes() == b"!"


def test_attributes_of_directories_do_not_go_through_a_link_that_was_moved_in(
    storage, helpers, tmp_path
) -> None:
    outside = tmp_path / "outside"
    (outside / "y").mkdir(parents=True)
    outside.chmod(0o711)
    (outside / "y").chmod(0o711)
    below = header(b"bin", b"2", target=b"usr") + header(b"usr", b"5", mode=0o755)
    below += header(b"usr/x", b"5", mode=0o700) + header(b"usr/x/y", b"5", mode=0o700) + END
    above = (
        member(b"bin/a") + header(b"bin/x", b"2", target=os.fsencode(outside)) + member(b"usr/x/y/z") + END
    )
    storage.unpacked(below, above)
    assert stat.S_IMODE((outside / "y").stat().st_mode) == 0o711
    assert stat.S_IMODE(outside.stat().st_mode) == 0o711


def test_a_link_below_that_leads_to_itself_through_the_layer_is_refused(storage, helpers) -> None:
    below = helpers.archive(("a", "->b"), ("b", None))
    with pytest.raises(SourceError, match="link to itself"):
        storage.unpacked(below, helpers.archive(("b", "->a"), ("a/f", b"x")))


@pytest.mark.parametrize("kind", ["overlay", "native"])
def test_a_whiteout_in_a_directory_of_its_own_is_not_listed(storage, helpers, kind) -> None:
    """Overlayfs lists whiteouts in directories that exist in one layer only, unless the directory is marked."""
    snapshot = storage.lazy(helpers.archive(("a", b"x")))
    snapshot = storage.lazy(helpers.archive(("d", None), ("d/.wh.gone", b""), ("d/f", b"")), below=snapshot)
    storage.layers.ensure(snapshot)
    snapshotter = {"overlay": OverlaySnapshotter, "native": NativeSnapshotter}[kind](
        storage.state, storage.layers
    )

    def look(token: Token) -> list[str]:
        with snapshotter.view(snapshot) as path:
            return os.listdir(path / "d")

    pools = Pools({"disk": 1}, private_mounts=True)
    try:
        assert pools.run_sync("disk", look) == ["f"]
    finally:
        pools.close()


def test_damaged_gzip_is_an_error_of_the_archive(add) -> None:
    """Whatever the decompressor says of it."""
    data = bytearray(gzip.compress(member(b"f", os.urandom(5000) + bytes(50_000)) + END, mtime=0))
    for at in range(30, len(data), 97):
        damaged = data[:]
        damaged[at] ^= 0xFF
        with pytest.raises(FileOpError, match=r"^evil\.tar: "):
            add(bytes(damaged))


def test_what_is_in_the_way_is_told_with_the_archives_name(add, tmp_path) -> None:
    data = member(b"f", b"x") + member(b"f/g", b"x") + END
    with pytest.raises(FileOpError, match=r"^evil\.tar: cannot unpack f/g: "):
        add(data)


def test_the_size_of_a_hard_link_is_not_copied() -> None:
    """Some writers repeat the size of the file in the link's header, with no content behind it."""
    file, link = tarfile.TarInfo("f"), tarfile.TarInfo("l")
    file.size, link.size = 700, 700
    link.type, link.linkname = tarfile.LNKTYPE, "f"
    data = (
        file.tobuf() + b"x" * 700 + bytes(-700 % 512) + link.tobuf() + tarfile.TarInfo("last").tobuf() + END
    )
    out = io.BytesIO()
    _copy(TarReader(io.BytesIO(data).read), out.write, 0)
    out.seek(0)
    with tarfile.open(fileobj=out) as copied:
        assert [(one.name, one.size) for one in copied] == [("f", 700), ("l", 0), ("last", 0)]
