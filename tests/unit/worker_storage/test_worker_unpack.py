# SPDX-License-Identifier: Apache-2.0
"""Lazy layers are materialized safely, once, independently, and completed from the layers below."""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import threading
from pathlib import Path

import pytest
import zstandard

from llbkit.worker.base import Snapshot, SourceError
from llbkit.worker.host.pools import Cancelled, Token
from llbkit.worker.oci import digest_of
from llbkit.worker.snapshot.overlayfs import is_opaque, is_whiteout, make_opaque

pytestmark = pytest.mark.root


def names(path: Path) -> list[str]:
    return sorted(str(found.relative_to(path)) for found in path.rglob("*"))


def gone(path: Path) -> bool:
    return is_whiteout(os.lstat(path))


def info(kind: bytes, **values: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo()
    made.type = kind
    for key, value in values.items():
        setattr(made, key, value)
    return made


# -- marks


def test_whiteouts_become_devices(storage, helpers) -> None:
    (layer,) = storage.unpacked(helpers.archive(("d", None), ("d/.wh.x", b""), (".wh.top", b"")))
    assert gone(layer / "d/x")
    assert gone(layer / "top")


@pytest.mark.parametrize("order", [0, 1])
def test_opaque_directories_are_marked_wherever_the_mark_stands(storage, helpers, order) -> None:
    members = [("d/.wh..wh..opq", b""), ("d/new", b"x")]
    (layer,) = storage.unpacked(helpers.archive(("d", None), *members[:: 1 - 2 * order]))
    assert is_opaque(str(layer / "d"))
    assert names(layer) == ["d", "d/new"]


@pytest.mark.parametrize("order", [0, 1])
def test_a_file_beside_its_own_whiteout_stays(storage, helpers, order) -> None:
    members = [(".wh.x", b""), ("x", b"new")]
    (layer,) = storage.unpacked(helpers.archive(*members[:: 1 - 2 * order]))
    assert (layer / "x").read_bytes() == b"new"


@pytest.mark.parametrize("members", [
    [(".wh.d", b""), ("d", None), ("d/new", b"x")],
    [("d", None), ("d/new", b"x"), (".wh.d", b"")],
    [(".wh.d", b""), ("d/new", b"x")],
    [("d/new", b"x"), (".wh.d", b"")],
])  # fmt: skip
def test_a_directory_beside_its_own_whiteout_hides_what_is_below(storage, helpers, members) -> None:
    below = helpers.archive(("d", info(tarfile.DIRTYPE, mode=0o700)), ("d/old", b"x"))
    _, layer = storage.unpacked(below, helpers.archive(*members))
    assert is_opaque(str(layer / "d"))
    assert names(layer) == ["d", "d/new"]
    assert stat.S_IMODE(os.stat(layer / "d").st_mode) == 0o755


@pytest.mark.parametrize("name", [".wh.", "d/.wh..", "d/.wh..."])
def test_a_whiteout_without_a_name_is_refused(storage, helpers, name) -> None:
    with pytest.raises(SourceError, match="whiteout"):
        storage.unpacked(helpers.archive(("d", None), (name, b"")))


def test_a_device_that_would_mark_a_deletion_is_refused(storage, helpers) -> None:
    with pytest.raises(SourceError, match="0, 0"):
        storage.unpacked(helpers.archive(("x", info(tarfile.CHRTYPE))))


def test_overlay_attributes_of_a_tar_are_not_believed(storage, helpers) -> None:
    evil = info(tarfile.DIRTYPE, mode=0o755, pax_headers={
        "SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.kept": "1",
    })  # fmt: skip
    (layer,) = storage.unpacked(helpers.archive(("d", evil)))
    assert os.listxattr(layer / "d") == ["user.kept"]


# -- nothing leaves the root


@pytest.mark.parametrize("members", [
    [("../../outside/file", b"evil")],
    [("/../../outside/file", b"evil")],
    [("way", "->../../../outside"), ("way/file", b"evil")],
    [("way", "->OUTSIDE"), ("way/file", b"evil")],
    [("a", "->b"), ("b", "->OUTSIDE"), ("a/file", b"evil")],
    [("way", "->OUTSIDE"), ("way/.wh.victim", b"")],
    [("way", "->OUTSIDE"), ("way/.wh..wh..opq", b"")],
    [("way", "->OUTSIDE"), ("way/sub", None)],
    [("file", "->OUTSIDE/victim"), ("file", b"evil")],
])  # fmt: skip
def test_nothing_is_written_outside(storage, helpers, tmp_path, members) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("untouched")
    made = [
        (name, what.replace("OUTSIDE", str(outside)) if isinstance(what, str) else what)
        for name, what in members
    ]
    storage.unpacked(helpers.archive(*made))
    assert os.listdir(outside) == ["victim"]
    assert (outside / "victim").read_text() == "untouched"
    assert os.listxattr(outside) == []


@pytest.mark.parametrize("target", ["OUTSIDE/victim", "../../../outside/victim", "way/victim"])
def test_no_hard_link_reaches_outside(storage, helpers, tmp_path, target) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("secret")
    link = "=" + target.replace("OUTSIDE", str(outside))
    tar = helpers.archive(("way", f"->{outside}"), ("stolen", link))
    with pytest.raises(SourceError, match="no layer contains"):
        storage.unpacked(tar)
    assert os.stat(outside / "victim").st_nlink == 1


def test_no_hard_link_reaches_outside_through_the_layers_below(storage, helpers, tmp_path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("secret")
    below = helpers.archive(("way", f"->{outside}"))
    with pytest.raises(SourceError, match="no layer contains"):
        storage.unpacked(below, helpers.archive(("stolen", "=way/victim")))
    assert os.listdir(outside) == ["victim"]


def test_settling_writes_nothing_outside(storage, helpers, tmp_path) -> None:
    """The layer's own link leads out; the file that it means is below, at that path inside the root."""
    outside = tmp_path / "outside"
    outside.mkdir()
    inner = str(outside).lstrip("/")
    below = helpers.archive((inner, None), (f"{inner}/file", b"inside"))
    _, layer = storage.unpacked(below, helpers.archive(("way", f"->{outside}"), ("copy", "=way/file")))
    assert (layer / "copy").read_bytes() == b"inside"
    assert os.listdir(outside) == []


def test_a_layer_that_was_refused_leaves_nothing(storage, helpers) -> None:
    snapshot = storage.lazy(helpers.archive(("a", b"x"), (".wh.", b"")))
    with pytest.raises(SourceError):
        storage.layers.ensure(snapshot)
    assert os.listdir(storage.state.layers) == []
    assert not storage.layers.info(snapshot.layers[0]).unpacked


# -- what is below


def test_directories_that_a_tar_does_not_mention_are_as_below(storage, helpers) -> None:
    one = helpers.archive(
        ("./", info(tarfile.DIRTYPE, mode=0o751, uid=3, mtime=5)),
        ("d", info(tarfile.DIRTYPE, mode=0o1700, uid=7, gid=8, mtime=12345)),
        ("d/e", info(tarfile.DIRTYPE, mode=0o750, uid=9, mtime=99)),
    )
    two = helpers.archive(("other", b"x"))
    *_, layer = storage.unpacked(one, two, helpers.archive(("d/e/f", b"x")))
    for path, expected in (("", (0o751, 3, 5)), ("d", (0o1700, 7, 12345)), ("d/e", (0o750, 9, 99))):
        status = os.stat(layer / path)
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_mtime) == expected


def test_what_a_layer_between_deleted_is_not_below(storage, helpers) -> None:
    one = helpers.archive(("d", info(tarfile.DIRTYPE, mode=0o700)), ("d/f", b"x"))
    *_, layer = storage.unpacked(one, helpers.archive((".wh.d", b"")), helpers.archive(("d/g", b"x")))
    assert stat.S_IMODE(os.stat(layer / "d").st_mode) == 0o755
    with pytest.raises(SourceError, match="no layer contains"):
        storage.unpacked(one, helpers.archive((".wh.d", b"")), helpers.archive(("g", "=d/f")))


def test_files_put_below_a_symbolic_link_of_a_lower_layer_go_where_it_leads(storage, helpers) -> None:
    one = helpers.archive(
        ("usr", None), ("usr/bin", info(tarfile.DIRTYPE, mode=0o711, mtime=77)), ("bin", "->usr/bin")
    )
    _, layer = storage.unpacked(
        one, helpers.archive(("bin/tool", b"x"), ("bin/.wh.old", b""), ("bin/d/e", b"y"))
    )
    assert names(layer) == ["usr", "usr/bin", "usr/bin/d", "usr/bin/d/e", "usr/bin/old", "usr/bin/tool"]
    assert gone(layer / "usr/bin/old")
    status = os.stat(layer / "usr/bin")
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o711, 77)


def test_directories_below_links_below_links_have_the_attributes_of_where_they_are(storage, helpers) -> None:
    there = info(tarfile.DIRTYPE, mode=0o2750, uid=7)
    lower = helpers.archive(
        ("b", None), ("t", None), ("t/d", there), ("a", "->b"), ("b/c", "->../t"), ("x", "->a/c/d")
    )
    _, layer = storage.unpacked(lower, helpers.archive(("a/c/d/f", b"1"), ("x/g", b"2")))
    assert names(layer) == ["b", "t", "t/d", "t/d/f", "t/d/g"]
    found = os.lstat(layer / "t/d")
    assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o2750, 7)


def test_a_directory_entry_replaces_a_symbolic_link_below(storage, helpers) -> None:
    _, layer = storage.unpacked(
        helpers.archive(("usr", None), ("bin", "->usr")), helpers.archive(("bin", None), ("bin/tool", b"x"))
    )
    assert names(layer) == ["bin", "bin/tool"]


def test_hard_links_to_files_below_work(storage, helpers) -> None:
    file = info(tarfile.REGTYPE, mode=0o4755, uid=5, mtime=1234)
    one = helpers.archive(("d", info(tarfile.DIRTYPE, mode=0o700, mtime=55)), ("d/f", file))
    _, layer = storage.unpacked(
        one, helpers.archive(("e", info(tarfile.DIRTYPE, mode=0o755, mtime=66)), ("e/g", "=d/f"))
    )
    status = os.stat(layer / "e/g")
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_mtime) == (0o4755, 5, 1234)
    assert os.path.samestat(status, os.stat(layer / "d/f"))
    assert (os.stat(layer / "d").st_mtime, os.stat(layer / "e").st_mtime) == (55, 66)


def test_the_parents_of_a_layer_count_not_what_it_is_stacked_on(storage, helpers) -> None:
    base = storage.lazy(helpers.archive(("d", info(tarfile.DIRTYPE, mode=0o700))))
    top = storage.lazy(helpers.archive(("d/f", b"x")), below=base)
    other = storage.lazy(helpers.archive(("d", info(tarfile.DIRTYPE, mode=0o777))))
    storage.layers.ensure(Snapshot((*other.layers, top.layers[-1])))
    assert stat.S_IMODE(os.stat(storage.layers.path(top.layers[-1]) / "d").st_mode) == 0o700


# -- replaced entries


def test_the_last_entry_of_a_path_counts(storage, helpers) -> None:
    (layer,) = storage.unpacked(helpers.archive(
        ("foo", None), ("foobar", info(tarfile.DIRTYPE, mode=0o755, mtime=42)), ("foo/x", b"1"), ("foo", b"file"),
        ("y", b"1"), ("y", "->foo"), ("z", "->nowhere"), ("z", None), ("z/in", b"2"), ("late/x", b"1"), ("late", b"3"),
    ))  # fmt: skip
    assert (layer / "foo").read_bytes() == b"file"
    assert os.stat(layer / "foobar").st_mtime == 42
    assert os.readlink(layer / "y") == "foo"
    assert (layer / "z/in").read_bytes() == b"2"
    assert (layer / "late").read_bytes() == b"3"


def test_attributes_are_kept(storage, helpers) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    tar = helpers.archive(
        ("f", info(tarfile.REGTYPE, mode=0o6711, uid=4_000_000_000, gid=3, pax_headers={
            "mtime": "-1.5",
            "SCHILY.xattr.security.capability": capability.decode("utf-8", "surrogateescape"),
        })),
        ("fifo", info(tarfile.FIFOTYPE, mode=0o600)),
        ("null", info(tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3)),
        ("n" * 200 + "/" + "ü" * 100, b"x"),
    )  # fmt: skip
    (layer,) = storage.unpacked(tar)
    status = os.stat(layer / "f")
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o6711, 4_000_000_000, 3)
    assert status.st_mtime_ns == -1_500_000_000
    assert os.getxattr(layer / "f", "security.capability") == capability
    assert stat.S_ISFIFO(os.lstat(layer / "fifo").st_mode)
    assert os.lstat(layer / "null").st_rdev == os.makedev(1, 3)
    assert (layer / ("n" * 200) / ("ü" * 100)).read_bytes() == b"x"


# -- blobs


@pytest.mark.parametrize("kind", ["gzip", "two members", "zstd", "plain"])
def test_compression_is_told_by_content(storage, helpers, kind) -> None:
    tar = helpers.archive(("f", b"x" * 100_000))
    blob = {
        "gzip": gzip.compress(tar),
        "two members": gzip.compress(tar[:1000]) + gzip.compress(tar[1000:]),
        "zstd": zstandard.compress(tar[:1000]) + zstandard.compress(tar[1000:]),
        "plain": tar,
    }[kind]
    snapshot = storage.lazy(tar, blob=blob)
    storage.layers.ensure(snapshot)
    assert (storage.layers.path(snapshot.layers[0]) / "f").read_bytes() == b"x" * 100_000


@pytest.mark.parametrize("blob", [b"", b"\x1f\x8b nonsense", b"\x28\xb5\x2f\xfd nonsense", b"x" * 5000])
def test_damaged_blobs_are_reported(storage, helpers, blob) -> None:
    tar = helpers.archive(("f", b"x"))
    snapshot = storage.lazy(tar, blob=blob or gzip.compress(tar)[:-12])
    with pytest.raises(SourceError, match="damaged") as caught:
        storage.layers.ensure(snapshot)
    assert caught.value.help
    assert os.listdir(storage.state.layers) == []


def test_content_that_the_image_does_not_name_is_refused(storage, helpers) -> None:
    snapshot = storage.lazy(helpers.archive(("f", b"x")), diff_id=digest_of(b"something else"))
    with pytest.raises(SourceError, match="damaged"):
        storage.layers.ensure(snapshot)
    assert os.listdir(storage.state.layers) == []


def test_a_blob_that_was_damaged_on_disk_is_fetched_again(storage, helpers) -> None:
    snapshot = storage.lazy(helpers.archive(("f", b"x" * 10_000)))
    descriptor = storage.layers.info(snapshot.layers[0]).blobs[0]
    storage._fetch(descriptor, "", Token(), None)
    path = storage.content.path(descriptor.digest)
    path.write_bytes(path.read_bytes()[:-20])
    storage.layers.ensure(snapshot)
    assert storage.fetched == [descriptor.digest] * 2
    assert (storage.layers.path(snapshot.layers[0]) / "f").stat().st_size == 10_000


# -- together


def test_a_layer_is_fetched_and_unpacked_once(storage, helpers) -> None:
    snapshot = Snapshot()
    for number in range(8):
        snapshot = storage.lazy(helpers.archive((f"d/f{number}", b"x")), below=snapshot)
    start = threading.Barrier(4)
    failures = []

    def work() -> None:
        start.wait()
        try:
            storage.layers.ensure(snapshot)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(storage.fetched) == len(set(storage.fetched)) == 8
    assert sorted(os.listdir(storage.state.layers)) == sorted(map(str, snapshot.layers))


def test_one_failure_stops_the_others(storage, helpers) -> None:
    snapshot = storage.lazy(helpers.archive((".wh.", b"")))
    for number in range(30):
        snapshot = storage.lazy(helpers.archive((f"f{number}", b"x")), below=snapshot)
    with pytest.raises(SourceError, match="whiteout"):
        storage.layers.ensure(snapshot)
    assert len(storage.fetched) < 31


def test_a_cancelled_unpacking_leaves_nothing(storage, helpers) -> None:
    token = Token()
    fetch = storage.layers.fetch

    def fetch_and_cancel(descriptor, source, cancel, progress) -> None:
        fetch(descriptor, source, cancel, progress)
        token.cancel()

    storage.layers.fetch = fetch_and_cancel
    snapshot = storage.lazy(helpers.archive(("f", b"x")))
    with pytest.raises(Cancelled):
        storage.layers.ensure(snapshot, token)
    assert os.listdir(storage.state.layers) == []
    storage.layers.ensure(snapshot)
    assert len(storage.fetched) == 1


def test_a_known_layer_keeps_its_number(storage, helpers) -> None:
    tar = helpers.archive(("f", b"x"))
    assert storage.lazy(tar) == storage.lazy(tar)
    other = storage.lazy(tar, below=storage.lazy(helpers.archive(("g", b"x"))))
    assert other.layers[-1] != storage.lazy(tar).layers[-1]


def other_blob(tar: bytes) -> bytes:
    """The same tar in other bytes, as another tool compresses it."""
    return gzip.compress(tar, 9, mtime=1)


def test_an_unpacked_layer_keeps_the_blob_that_proved_it(storage, helpers) -> None:
    """An image that names the same diff id for another blob changes nothing for images that are here already."""
    tar = helpers.archive(("a", b"1"))
    good = storage.lazy(tar)
    storage.layers.ensure(good)
    proved = storage.layers.info(good.layers[0]).blobs
    assert storage.lazy(tar, blob=other_blob(tar)) == good
    assert storage.lazy(tar, blob=b"anything") == good
    assert storage.layers.info(good.layers[0]).blobs == proved
    assert storage.layers.blob(good.layers[0]).descriptor == proved[0]


def test_a_false_claim_about_a_blob_stays_with_the_image_that_makes_it(storage, helpers) -> None:
    bottom, top = helpers.archive(("a", b"1")), helpers.archive(("b", b"2"))
    false = storage.lazy(top, below=storage.lazy(bottom, blob=gzip.compress(helpers.archive(("evil", b"!")))))
    good = storage.lazy(top, below=storage.lazy(bottom))
    assert not set(false.layers) & set(good.layers)
    assert storage.lazy(top, below=storage.lazy(bottom)) == good
    storage.layers.ensure(good)
    assert [sorted(os.listdir(storage.layers.path(layer))) for layer in good.layers] == [["a"], ["b"]]
    with pytest.raises(SourceError, match="is damaged"):
        storage.layers.ensure(false)


def test_progress_ends_with_done(storage, helpers) -> None:
    seen = []
    snapshot = storage.lazy(helpers.archive(("f", os.urandom(1000))))
    storage.layers.ensure(snapshot, report=lambda *values: seen.append(values))
    size = storage.layers.info(snapshot.layers[0]).blobs[0].size
    assert seen[-1][2:] == (size, size, True)


def test_an_opaque_root_hides_what_hard_links_and_directories_could_use_below(storage, helpers) -> None:
    below = helpers.archive(("d", info(tarfile.DIRTYPE, mode=0o700)), ("d/f", b"x"))
    _, layer = storage.unpacked(below, helpers.archive((".wh..wh..opq", b""), ("d/g", b"x")))
    assert is_opaque(str(layer))
    assert stat.S_IMODE(os.stat(layer / "d").st_mode) == 0o755
    with pytest.raises(SourceError, match="no layer contains"):
        storage.unpacked(below, helpers.archive((".wh..wh..opq", b""), ("g", "=d/f")))


def test_an_opaque_root_is_written_to_a_layer_again(storage, helpers) -> None:
    path = storage.state.work / "made"
    path.mkdir()
    make_opaque(str(path))
    (path / "f").write_text("x")
    blob = storage.layers.blob(storage.layers.adopt(path), compression="uncompressed").descriptor
    (layer,) = storage.unpacked(storage.content.read(blob.digest))
    assert is_opaque(str(layer))
    assert names(layer) == ["f"]
