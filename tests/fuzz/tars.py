# SPDX-License-Identifier: Apache-2.0
"""Unpack hostile tars, as layers, as archives of ADD and as contexts.

    python -m tests.fuzz.tars [--seconds N] [--seed N] [--cases N] [--crashes FOLDER]

Archives are generated with headers of every dialect, members that get in each other's way, links that lead out and numbers
that cannot be, then damaged and compressed. Checked are: a result, or a typed error that names the source; nothing outside
of the root is touched; time and memory are bounded; both snapshotters show the same files; what is there can be written as
a layer and is read back.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import zstandard

from llbkit.worker.archive.add import is_archive, unpack
from llbkit.worker.archive.tarread import TarError, TarReader
from llbkit.worker.archive.tarwrite import WhiteoutNameError, write_layer
from llbkit.worker.base import FileOpError, Snapshot, SourceError
from llbkit.worker.content.store import ContentStore
from llbkit.worker.fs.descent import remove_tree
from llbkit.worker.host.pools import Pools, Token
from llbkit.worker.oci import LAYER, Descriptor, digest_of
from llbkit.worker.snapshot.layers import LayerStore
from llbkit.worker.snapshot.native import NativeSnapshotter
from llbkit.worker.snapshot.overlay import OverlaySnapshotter
from llbkit.worker.state.directory import StateDir
from tests.fuzz.driver import run_seeds
from tests.support import tars

SLOW, MEMORY = 40, 1 << 30
CASES_PER_WORLD = 100

NAMES = [
    b"a", b"b", b"d", b"d/", b"./d", b"d/a", b"d/e/f", b"d/e", b"l", b"l/a", b"l/e/f", b"../up", b"/abs", b"d/../b", b"d//a",
    b".wh.a", b".wh.d", b"d/.wh.a", b"d/.wh..wh..opq", b".wh..wh..opq", b".wh.", b".wh..", b"l/.wh.a", b".", b"", b"/", b"..",
    b"\xff\xfe", b"new\nline", b"a b", b"a" * 99, b"x/" * 60 + b"y", "é".encode(), b"etc/passwd", b"way/out", b"way",
]  # fmt: skip
TARGETS = [
    b"a",
    b"d",
    b"d/a",
    b"../b",
    b"/d",
    b"l",
    b"..",
    b"../../../../..",
    b"/",
    b"nowhere",
    b"",
    b".",
    b"d/e/../a",
    b"way",
]
NUMBERS: list[int | bytes] = [
    0,
    1,
    5,
    1000,
    0o7777,
    1 << 31,
    (1 << 32) - 1,
    1 << 40,
    -1,
    1 << 62,
    b"junk",
    b"",
    b"\xff" * 12,
]
TIMES = [
    b"0",
    b"5.5",
    b"-3",
    b"-0.5",
    b"inf",
    b"nan",
    b"9" * 17,
    b"9" * 30,
    b"1e9",
    b"",
    b"1.",
    b".5",
    b"1.9999999999",
]
KEYS = [
    b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime", b"atime", b"comment", b"SCHILY.xattr.user.a",
    b"SCHILY.xattr.trusted.overlay.opaque", b"SCHILY.xattr.security.capability", b"SCHILY.xattr.trusted.overlay.redirect",
    b"SCHILY.xattr.", b"GNU.sparse.major", b"GNU.sparse.map", b"GNU.sparse.size", b"GNU.sparse.name", b"GNU.sparse.realsize",
    b"GNU.sparse.offset", b"GNU.sparse.numbytes", b"hdrcharset",
]  # fmt: skip
MAGICS = [b"ustar\x0000", b"ustar\x0000", b"ustar  \0", b"", b"ustar\0\0\0", b"junk"]
KINDS = (
    [b"0"] * 6
    + [b"5"] * 5
    + [b"2"] * 4
    + [b"1"] * 4
    + [b"\0", b"3", b"4", b"6", b"7", b"S", b"V", b"M", b"D", b"\xff"]
)


class Generator:
    """Makes archives. ``outside`` is a host directory that links try to reach."""

    def __init__(self, source: random.Random, outside: bytes) -> None:
        self._source = source
        self._targets = [*TARGETS, outside, outside, outside + b"/victim", b"../" * 12 + outside[1:]]

    def archive(self) -> bytes:
        parts = [self._member() for _ in range(self._source.choice((0, 1, 2, 4, 8, 20)))]
        end = self._source.choice(
            (tars.END, tars.END, tars.END, tars.END[:512], b"", tars.END + b"junk" * 300)
        )
        data = b"".join(parts) + end
        return self._damaged(data) if self._source.random() < 0.3 else data

    def packed(self, data: bytes) -> bytes:
        pack: Callable[[bytes], bytes] = self._source.choice(
            (bytes, bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.compress)
        )
        data = pack(data)
        return self._damaged(data) if self._source.random() < 0.15 else data

    def _damaged(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self._source.choice((1, 1, 3, 20))):
            if changed:
                changed[self._source.randrange(len(changed))] = self._source.randrange(256)
        if self._source.random() < 0.3:
            del changed[self._source.randrange(len(changed) + 1) :]
        return bytes(changed)

    def _member(self) -> bytes:
        pick = self._source.choice
        match self._source.randrange(20):
            case 0:
                return self._extension() + self._plain()
            case 1:
                return self._extension() + self._extension() + self._plain()
            case 2:
                long = (
                    pick(NAMES) * pick((1, 3, 50, 2000))
                    if pick((0, 1))
                    else b"e/" * pick((10, 900, 1990)) + b"f"
                )
                return tars.extension(long, pick((b"L", b"K"))) + self._plain()
            case 3:
                return tars.extension(
                    b"", pick((b"x", b"g", b"L", b"K")), claims=pick((1 << 20, 1 << 31, 1 << 60))
                )
            case 4:
                return tars.sparse_old(pick(NAMES), pick((10, 5000, 1 << 50)), self._pieces())
            case 5:
                dialect = pick(("0.0", "0.1", "1.0"))
                return tars.sparse_pax(pick(NAMES), pick((10, 5000, 1 << 50)), self._pieces(), dialect)
            case 6:
                return self._plain(strange=True)
            case 7:
                return tars.extension(tars.record(b"comment", b"x"), pick((b"x", b"g"))) * pick((1, 10, 5000))
            case 8:
                return bytes([self._source.randrange(256)]) * 512
            case _:
                return self._plain()

    def _plain(self, *, strange: bool = False) -> bytes:
        pick = self._source.choice
        data = bytes([self._source.randrange(256)]) * pick((0, 0, 1, 511, 512, 513, 5000))
        kind = pick(KINDS)
        number = (lambda usual: pick(NUMBERS)) if strange else (lambda usual: usual)
        header = tars.header(
            pick(NAMES),
            kind,
            number(len(data) if kind in b"07\0SVMD\xff" else 0),
            mode=number(pick((0o644, 0o755, 0, 0o4755, 0o1777))),
            uid=number(pick((0, 1000))),
            gid=number(0),
            mtime=number(pick((0, 1_000_000, 1 << 33))),
            target=pick(self._targets),
            magic=pick(MAGICS) if strange else b"ustar\x0000",
            device=(number(pick((0, 1))), number(pick((0, 3)))),
            prefix=pick(NAMES) if strange else b"",
        )
        return header + (tars.padded(data) if kind in b"07\0SVMD\xff" else b"")

    def _extension(self) -> bytes:
        pick = self._source.choice
        records = b""
        for _ in range(pick((1, 1, 2, 5))):
            key = pick(KEYS)
            value = pick(
                (
                    pick(NAMES),
                    pick(self._targets),
                    pick(TIMES),
                    b"%d" % pick((0, 1, 1 << 40)),
                    b"0,5,9,1",
                    b"y",
                )
            )
            if pick((0, 0, 0, 0, 0, 0, 1)):
                value *= pick((10, 1000, 100_000))
            records += tars.record(key, value[:300_000])
        if pick((0, 0, 0, 0, 0, 1)):
            records = self._damaged(records)
        return tars.extension(records, pick((b"x", b"x", b"x", b"g")))

    def _pieces(self) -> list[tuple[int, bytes]]:
        at, found = 0, []
        for _ in range(self._source.choice((0, 1, 3, 30))):
            at += self._source.choice((0, 1, 100, 1 << 51))
            data = b"s" * self._source.choice((0, 1, 100))
            found.append((at, data))
            at += len(data) if self._source.random() < 0.95 else 0
        return found


class World:
    """A state directory with both snapshotters, and a directory outside of it that must not change."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="llbkit-fuzz-tars-"))
        self.outside = self.folder / "outside"
        (self.outside / "victim").mkdir(parents=True)
        (self.outside / "a").write_text("kept")
        self.before = shown(self.outside)
        self.state = StateDir(self.folder / "state")
        self.content = ContentStore(self.state)
        self.layers = LayerStore(self.state, self.content)
        self.layers.fetch = self._fetch
        self.pools = Pools({"disk": 2}, private_mounts=True)
        self.blobs: dict[str, bytes] = {}
        self.cases = 0

    def close(self) -> None:
        self.pools.close()
        self.state.close()
        remove_tree(self.folder)

    def _fetch(self, descriptor: Descriptor, source: str, cancel: object, progress: object) -> None:
        with self.content.writer(descriptor.digest) as writer:
            writer.write(self.blobs[descriptor.digest])

    def stack(self, archives: list[bytes], source: random.Random) -> Snapshot:
        numbers: list[int] = []
        for data in archives:
            kind, blob = source.choice(
                (("", data), ("+gzip", gzip.compress(data, 1)), ("+zstd", zstandard.compress(data)))
            )
            digest = digest_of(blob)
            self.blobs = {**self.blobs, digest: blob} if numbers else {digest: blob}
            numbers.append(
                self.layers.add_remote(
                    Descriptor(media_type=LAYER + kind, digest=digest, size=len(blob)),
                    diff_id=digest_of(data),
                    parent=numbers[-1] if numbers else None,
                    source="docker-image://somewhere/image",
                )
            )
        return Snapshot(tuple(numbers))

    def view(
        self, kind: type[OverlaySnapshotter | NativeSnapshotter], snapshot: Snapshot
    ) -> dict[bytes, object]:
        def look(token: Token) -> dict[bytes, object]:
            with kind(self.state, self.layers).view(snapshot) as path:
                return shown(path)

        return self.pools.run_sync("disk", look)


def shown(root: Path) -> dict[bytes, object]:
    """Return everything below a directory; hard links of one file are told by the first of their names."""
    found: dict[bytes, object] = {}
    first: dict[tuple[int, int], bytes] = {}
    top = os.fsencode(root)
    pending = [b""]
    while pending:
        folder = pending.pop()
        for name in sorted(os.listdir(os.path.join(top, folder))):
            path = os.path.join(folder, name)
            full = os.path.join(top, path)
            status = os.lstat(full)
            mode = status.st_mode
            same = b"" if stat.S_ISDIR(mode) else first.setdefault((status.st_dev, status.st_ino), path)
            content: object = status.st_rdev
            if stat.S_ISREG(mode):
                content = Path(os.fsdecode(full)).read_bytes()
            elif stat.S_ISLNK(mode):
                content = os.readlink(full)
            elif stat.S_ISDIR(mode):
                pending.append(path)
            xattrs = {
                key: os.getxattr(full, key, follow_symlinks=False)
                for key in os.listxattr(full, follow_symlinks=False)
                if ".overlay." not in key
            }
            found[path] = (
                mode,
                status.st_uid,
                status.st_gid,
                status.st_mtime_ns,
                content,
                same,
                tuple(sorted(xattrs.items())),
            )
    return found


_world: list[World] = []


def world() -> World:
    """Return the world, a new one now and then."""
    if _world and _world[0].cases >= CASES_PER_WORLD:
        close_world()
    if not _world:
        _world.append(World())
    _world[0].cases += 1
    return _world[0]


def close_world() -> None:
    """Remove the directory that the cases worked in."""
    while _world:
        _world.pop().close()


def case(source: random.Random) -> None:
    """Try one stack of layers and one archive of ADD."""
    here = world()
    make = Generator(source, os.fsencode(here.outside))
    archives = [make.archive() for _ in range(source.choice((1, 1, 2, 3)))]
    as_layers(here, archives, source)
    as_archive(here, make.packed(archives[-1]), source)
    assert shown(here.outside) == here.before, "something outside of the root was touched"


def as_layers(here: World, archives: list[bytes], source: random.Random) -> None:
    snapshot = here.stack(archives, source)
    try:
        here.layers.ensure(snapshot)
    except SourceError as error:
        said = str(error)
        assert any(here.layers.info(layer).blobs[0].digest in said for layer in snapshot.layers), said
        assert len(said) < 5000, said
        return
    overlay, native = here.view(OverlaySnapshotter, snapshot), here.view(NativeSnapshotter, snapshot)
    assert overlay == native, difference(overlay, native)
    for layer in snapshot.layers:
        written_and_read(here.layers.path(layer))


def as_archive(here: World, data: bytes, source: random.Random) -> None:
    folder = here.folder / "add"
    root = folder / "root"
    root.mkdir(parents=True)
    archive = folder / "evil.tar"
    archive.write_bytes(data)
    try:
        found = is_archive(os.fspath(archive))
        if source.random() < 0.5:
            (root / "l").symlink_to(here.outside)
            (root / "way").symlink_to("/")
        unpack(os.fspath(archive), os.fspath(root), Token())
        assert found or not any(path not in (b"l", b"way") for path in shown(root)), (
            "no archive, but unpacked"
        )
        written_and_read(root)
    except FileOpError as error:
        assert "evil.tar" in str(error), error
        assert len(str(error)) < 5000, error
    finally:
        remove_tree(folder)


def written_and_read(root: Path) -> None:
    """Write a directory as a layer, and read it back."""
    pieces: list[bytes] = []
    try:
        write_layer(root, pieces.append)
    except WhiteoutNameError:
        return
    data = memoryview(b"".join(pieces))
    at = 0

    def read(size: int) -> bytes:
        nonlocal at
        found = bytes(data[at : at + size])
        at += len(found)
        return found

    try:
        for _ in TarReader(read):
            pass
    except TarError as error:
        raise AssertionError(f"what was written cannot be read: {error}") from error


def difference(one: dict[bytes, object], other: dict[bytes, object]) -> str:
    lines = [
        f"{path!r}: {one.get(path)} | {other.get(path)}"
        for path in sorted({*one, *other})
        if one.get(path) != other.get(path)
    ]
    return "the snapshotters show different files:\n" + "\n".join(lines)


if __name__ == "__main__":
    status = run_seeds("tars", __doc__, case, slow=SLOW, memory=MEMORY)
    close_world()
    raise SystemExit(status)
