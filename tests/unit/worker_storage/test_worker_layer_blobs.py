# SPDX-License-Identifier: Apache-2.0
"""Layers as blobs: deterministic tars, compressions, and what is used again. Python's tarfile is the judge."""

from __future__ import annotations

import gzip
import io
import itertools
import os
import random
import socket
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from llbkit.worker.base import Snapshot
from llbkit.worker.host.pools import Token
from llbkit.worker.oci import digest_of
from llbkit.worker.snapshot.overlayfs import make_opaque, make_whiteout
from llbkit.worker.snapshot.pack import Packed, Write, store_tar, transcode

pytestmark = pytest.mark.root


def adopt(storage, fill, name: str = "up") -> int:
    path = storage.state.work / name
    path.mkdir()
    fill(path)
    return storage.layers.adopt(path)


def tar_of(storage, layer: int) -> bytes:
    blob = storage.layers.blob(layer)
    tar = gzip.decompress(storage.content.read(blob.descriptor.digest))
    assert digest_of(tar) == blob.diff_id
    return tar


def members(tar: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:", encoding="utf-8", errors="surrogateescape") as read:
        return read.getmembers()


def test_entries_are_sorted_with_whiteouts_first(storage) -> None:
    def fill(root: Path) -> None:
        for name in ("z", "b", "a/z", "a/b", "a-b"):
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_text(name)
        make_whiteout(f"{root}/y")
        make_whiteout(f"{root}/a/x")
        make_opaque(f"{root}/a")

    names = [member.name for member in members(tar_of(storage, adopt(storage, fill)))]
    assert names == [".wh.y", "a", "a/.wh..wh..opq", "a/.wh.x", "a/b", "a/z", "a-b", "b", "z"]


def test_the_tar_depends_on_nothing_but_the_files(storage) -> None:
    def fill(root: Path, names: list[str]) -> None:
        for name in names:
            (root / name).write_text(name)
            os.utime(root / name, ns=(len(names), 1_000_000_999_999_999))
        os.utime(root, (1, 1))

    names = [f"f{number}" for number in range(50)]
    one = adopt(storage, lambda root: fill(root, names), "one")
    two = adopt(storage, lambda root: fill(root, names[::-1]), "two")
    assert storage.layers.blob(one).descriptor == storage.layers.blob(two).descriptor


@pytest.mark.parametrize("compression", ["gzip", "zstd", "uncompressed"])
def test_a_blob_depends_on_its_tar_not_on_how_that_comes_in(storage, compression) -> None:
    chance = random.Random(1)
    words = [chance.randbytes(9), b"layer", b"\0" * 300, chance.randbytes(40)]
    tar = b"".join(chance.choice(words) for _ in range(40_000))

    def stored(sizes: Iterator[int]) -> Packed:
        def produce(write: Write) -> None:
            at = 0
            while at < len(tar):
                size = next(sizes)
                write(tar[at : at + size])
                at += size

        return store_tar(storage.content, compression, None, Token(), produce)

    whole = stored(itertools.repeat(len(tar)))
    assert whole.diff_id == digest_of(tar)
    assert stored(itertools.repeat(4096)) == whole
    assert stored(chance.randint(1, 1 << 21) for _ in itertools.count()) == whole
    again = transcode(storage.content, whole.descriptor.digest, compression, None, Token())
    assert again == whole


def test_everything_is_in_the_tar(storage) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    long = "n" * 150 + "/" + "m" * 200

    def fill(root: Path) -> None:
        (root / "f").write_bytes(b"data")
        os.chown(root / "f", 4_000_000_000, 2_097_152)
        os.chmod(root / "f", 0o6751)
        os.setxattr(root / "f", "security.capability", capability)
        os.setxattr(root / "f", "user.x", b"a=b\nc")
        os.setxattr(root / "f", "trusted.overlay.origin", b"secret")
        os.utime(root / "f", (-5, -5))
        (root / "l").symlink_to("t" * 300)
        (root / long).parent.mkdir()
        (root / long).write_text("long")
        (root / os.fsdecode(b"\xff")).write_text("bytes")
        os.mknod(root / "c", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        os.mknod(root / "d", stat.S_IFBLK | 0o600, os.makedev(259, 70000))
        os.mkfifo(root / "p")
        os.link(root / "f", root / "g")
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(f"/proc/self/fd/{os.open(root, os.O_PATH)}/s")

    found = {member.name: member for member in members(tar_of(storage, adopt(storage, fill)))}
    assert sorted(found) == sorted(["f", "l", "n" * 150, long, "\udcff", "c", "d", "p", "g"])
    f = found["f"]
    assert (f.uid, f.gid, f.mode, f.mtime, f.size) == (4_000_000_000, 2_097_152, 0o6751, -5, 4)
    assert f.pax_headers["SCHILY.xattr.security.capability"].encode("utf-8", "surrogateescape") == capability
    assert f.pax_headers["SCHILY.xattr.user.x"] == "a=b\nc"
    assert not any("overlay" in key for key in f.pax_headers)
    assert found["l"].linkname == "t" * 300
    assert (found["d"].devmajor, found["d"].devminor) == (259, 70000)
    assert found["p"].isfifo()
    assert (found["g"].type, found["g"].linkname) == (tarfile.LNKTYPE, "f")


def test_hard_links_of_all_but_directories_stay_links(storage) -> None:
    """containerd's rule: symbolic links, pipes and devices have names that are hard links, too."""

    def fill(root: Path) -> None:
        (root / "l").symlink_to("target")
        os.mkfifo(root / "p")
        os.mknod(root / "c", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        for name in "lpc":
            os.link(root / name, root / f"{name}2", follow_symlinks=False)

    layer = adopt(storage, fill)
    found = {member.name: member for member in members(tar_of(storage, layer))}
    for name in "lpc":
        assert (found[f"{name}2"].type, found[f"{name}2"].linkname) == (tarfile.LNKTYPE, name)
        assert found[name].type != tarfile.LNKTYPE


@pytest.mark.parametrize(
    ("compression", "suffix"), [("gzip", "+gzip"), ("zstd", "+zstd"), ("uncompressed", "")]
)
def test_compressions(storage, compression, suffix) -> None:
    layer = adopt(storage, lambda root: (root / "f").write_bytes(b"x" * 100_000))
    blob = storage.layers.blob(layer, compression=compression)
    data = storage.content.read(blob.descriptor.digest)
    plain = {
        "gzip": gzip.decompress,
        "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
        "uncompressed": bytes,
    }[compression](data)
    assert digest_of(plain) == blob.diff_id == storage.layers.info(layer).diff_id
    assert blob.descriptor.media_type.endswith(".tar" + suffix)
    assert blob.descriptor.size == len(data)


def test_a_blob_that_exists_is_used_again_and_a_lost_one_made_again(storage) -> None:
    layer = adopt(storage, lambda root: (root / "f").write_text("x"))
    first = storage.layers.blob(layer)
    path = storage.content.path(first.descriptor.digest)
    inode = path.stat().st_ino
    assert storage.layers.blob(layer) == first
    assert path.stat().st_ino == inode
    path.unlink()
    assert storage.layers.blob(layer) == first
    assert path.exists()


def test_a_pulled_layer_keeps_its_own_blob(storage, helpers) -> None:
    tar = helpers.archive(("f", b"x"))
    snapshot = storage.lazy(tar)
    blob = storage.layers.blob(snapshot.layers[0], compression="zstd")
    assert blob.descriptor == storage.layers.info(snapshot.layers[0]).blobs[0]
    assert blob.diff_id == digest_of(tar)
    assert storage.fetched == []


def test_a_pulled_layer_in_another_compression_keeps_its_tar(storage, helpers) -> None:
    """Made by another tool, its tar could not be made again from its files."""
    tar = helpers.archive(("./b", b"x"), ("./a", b"y"))
    layer = storage.lazy(tar).layers[0]
    blob = storage.layers.blob(layer, compression="zstd", force=True)
    assert blob.diff_id == digest_of(tar) == storage.layers.info(layer).diff_id
    data = storage.content.read(blob.descriptor.digest)
    assert zstandard.ZstdDecompressor().decompressobj().decompress(data) == tar
    assert not storage.layers.info(layer).unpacked
    assert storage.layers.blob(layer).descriptor.media_type.endswith("+gzip")


def test_tokens_name_snapshots_until_a_layer_is_gone(storage) -> None:
    one = adopt(storage, lambda root: None, "one")
    two = adopt(storage, lambda root: None, "two")
    snapshot = Snapshot((one, two))
    token = storage.layers.to_token(snapshot)
    assert storage.layers.from_token(token) == snapshot
    assert storage.layers.from_token(storage.layers.to_token(Snapshot())) == Snapshot()
    storage.state.lease.drop()
    assert storage.layers.remove_unused([two]) == [two]
    assert storage.layers.from_token(token) is None
    assert not storage.layers.path(two).exists()


@pytest.mark.parametrize("token", ["", "layers:x", "layers:1,", "layers:-1", "other:1", "layers:1,,2"])
def test_what_is_no_token_names_nothing(storage, token) -> None:
    assert storage.layers.from_token(token) is None


def test_layers_in_use_are_not_removed(storage, helpers, tmp_path) -> None:
    layer = adopt(storage, lambda root: None)
    other = helpers.Storage(tmp_path / "state")
    assert other.layers.remove_unused([layer]) == []
    storage.state.lease.drop()
    assert other.layers.remove_unused([layer]) == [layer]
    other.close()


def test_directories_without_a_row_are_swept(storage) -> None:
    kept = adopt(storage, lambda root: None)
    (storage.state.layers / "999").mkdir()
    storage.layers.sweep()
    assert os.listdir(storage.state.layers) == [str(kept)]


def test_the_size_of_a_layer_counts_hard_links_once(storage) -> None:
    def fill(root: Path) -> None:
        (root / "f").write_bytes(os.urandom(1 << 20))
        os.link(root / "f", root / "g")

    size = storage.layers.size(adopt(storage, fill))
    assert 1 << 20 <= size < 2 << 20
