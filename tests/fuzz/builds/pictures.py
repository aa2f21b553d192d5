# SPDX-License-Identifier: Apache-2.0
"""Reads an OCI archive with the standard library alone: index, configs, layers, and the root file system they make."""

from __future__ import annotations

import hashlib
import json
import struct
import tarfile
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path

from llbkit.records import dataclass

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
_KINDS = {
    tarfile.REGTYPE: "file", tarfile.AREGTYPE: "file", tarfile.CONTTYPE: "file", tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "hard", tarfile.FIFOTYPE: "fifo", tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block",
}  # fmt: skip


@dataclass
class Node:
    """What a name of a file system leads to. Hard links share one."""

    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    content: str = ""
    target: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: dict[str, str] = field(default_factory=dict)


@dataclass
class Image:
    """One platform's image."""

    descriptor: dict
    manifest: dict
    config: dict
    layers: list[dict[str, str]]
    """For each layer the names that it adds ("+") and removes ("-")."""
    root: dict[str, Node]

    @property
    def platform(self) -> str:
        return json.dumps(self.descriptor.get("platform"), sort_keys=True)


@dataclass
class Picture:
    """What an archive holds."""

    index: dict
    images: list[Image]


def read_archive(path: Path) -> Picture:
    """Read the archive that an OCI exporter wrote."""
    with tarfile.open(path) as archive:
        members = {member.name: member for member in archive}

        def blob(digest: str) -> bytes:
            stream = archive.extractfile(members["blobs/" + digest.replace(":", "/")])
            assert stream is not None
            return stream.read()

        stream = archive.extractfile(members["index.json"])
        assert stream is not None
        top = json.load(stream)
        images = [_read_image(one, blob) for one in _manifests(top, blob)]
    return Picture(top, images)


def _manifests(index: dict, blob) -> Iterator[dict]:
    for one in index["manifests"]:
        if "index" in one["mediaType"] or "list" in one["mediaType"]:
            yield from _manifests(json.loads(blob(one["digest"])), blob)
        else:
            yield one


def _read_image(descriptor: dict, blob) -> Image:
    manifest = json.loads(blob(descriptor["digest"]))
    config = json.loads(blob(manifest["config"]["digest"]))
    root: dict[str, Node] = {}
    layers = []
    for layer in manifest["layers"] or ():  # BuildKit writes null for none
        data = blob(layer["digest"])
        layers.append(apply_layer(data, root))
    return Image(descriptor, manifest, config, layers, root)


class _Bytes:
    """A file in memory without a copy."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def read(self, size: int = -1) -> bytes:
        end = len(self._data) if size < 0 else self._at + size
        piece = self._data[self._at : end]
        self._at += len(piece)
        return piece

    def seek(self, at: int) -> int:
        self._at = at
        return at

    def tell(self) -> int:
        return self._at


def apply_layer(data: bytes, root: dict[str, Node]) -> dict[str, str]:
    """Change a root file system as a layer says; return the names that it adds and removes, opaque markers resolved."""
    below = set(root)
    names: dict[str, str] = {}
    fresh: set[str] = set()
    opaque: list[str] = []
    with tarfile.open(fileobj=_Bytes(data)) as tar:  # type: ignore[arg-type]
        for member in tar:
            path = member.name.removeprefix("./").strip("/") or "."
            folder, _, name = path.rpartition("/")
            if name == OPAQUE:
                opaque.append(folder)
                for old in [one for one in root if one.startswith(folder + "/") and one not in fresh]:
                    del root[old]
            elif name.startswith(WHITEOUT):
                gone = f"{folder}/{name.removeprefix(WHITEOUT)}".lstrip("/")
                names[gone] = "-"
                _remove(gone, root, fresh)
            else:
                _add(path, member, tar, root)
                fresh.add(path)
                names[path] = "+"
    for folder in opaque:
        for old in below:
            parent = old.rpartition("/")[0]
            if old.startswith(folder + "/") and old not in fresh and (parent == folder or parent in fresh):
                names[old] = "-"
    return names


def _remove(gone: str, root: dict[str, Node], fresh: set[str]) -> None:
    for old in [one for one in root if one == gone or one.startswith(gone + "/")]:
        if old not in fresh:
            del root[old]


def _add(path: str, member: tarfile.TarInfo, tar: tarfile.TarFile, root: dict[str, Node]) -> None:
    kind = _KINDS.get(member.type, f"type {member.type!r}")
    if kind == "hard":
        root[path] = root[member.linkname.removeprefix("./").strip("/")]
        return
    before = root.get(path)
    if before is not None and before.kind == "dir" and kind != "dir":
        _remove(path, root, set())
    content = ""
    if kind == "file":
        stream = tar.extractfile(member)
        assert stream is not None
        data = stream.read()
        content = git_entries(data) if path.endswith(".git/index") else hashlib.sha256(data).hexdigest()
    xattrs = {
        key.removeprefix("SCHILY.xattr."): value
        for key, value in member.pax_headers.items()
        if key.startswith("SCHILY.xattr.")
    }
    root[path] = Node(
        kind, member.mode, member.uid, member.gid, member.size, int(member.mtime // 1), content,
        member.linkname if kind == "link" else "", (member.devmajor, member.devminor) if kind in ("char", "block") else (0, 0), xattrs,
    )  # fmt: skip


def git_entries(index: bytes) -> str:
    """Return what a git index holds but for what it remembers of files on disk, which no two checkouts share.

    Source: git's index-format, version 2.
    """
    signature, version, count = struct.unpack(">4sII", index[:12])
    if signature != b"DIRC" or version != 2:
        return hashlib.sha256(index).hexdigest()
    found, at = [], 12
    for _ in range(count):
        mode = int.from_bytes(index[at + 24 : at + 28], "big")
        flags = int.from_bytes(index[at + 60 : at + 62], "big")
        name = index[at + 62 : index.index(b"\0", at + 62)]
        found.append(f"{mode:o} {index[at + 40 : at + 60].hex()} {flags:x} {name!r}")
        at += (62 + len(name) + 8) // 8 * 8
    return "\n".join(found)
