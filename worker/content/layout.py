# SPDX-License-Identifier: Apache-2.0
"""Reading OCI image layouts, as directories or tar files, and docker-save archives, as a `Provider`.

A tar file is indexed once; blobs are then read at their offset, so nothing is unpacked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from llbkit.llb.address.reference import Reference
from llbkit.worker.archive.tarread import TarError, TarReader
from llbkit.worker.base import CancelToken, SourceError
from llbkit.worker.content.provider import MANIFESTS, MAX_MANIFEST, descriptor_from, read_json, verified
from llbkit.worker.oci import Descriptor, is_digest

if TYPE_CHECKING:
    from llbkit.worker.session.base import LayoutFiles

_CHUNK = 1 << 20
REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"


class Layout:
    """An OCI image layout. Thread-safe; nothing is kept open.

    With ``legacy`` an archive of an older `docker save`, which has a ``manifest.json`` only, is accepted as well.

    Raises:
        SourceError: the files are not an OCI layout.
    """

    def __init__(self, files: LayoutFiles, *, legacy: bool = False) -> None:
        self.files = files
        self._path = files.where
        self.is_oci = files.has("index.json")
        if not self.is_oci and not (legacy and files.has("manifest.json")):
            raise SourceError(
                f"{files.where} is not an OCI layout: it has no index.json",
                help="write one with: llbkit build -o type=oci,tar=false,dest=DIR",
            )

    def resolve(self, ref: Reference, cancel: CancelToken) -> Descriptor:
        """Return the manifest or index of a digest, or of a tag or full name in ``index.json``.

        Raises:
            SourceError: it is not there, or the tag is not unique.
        """
        entries = self.entries()
        if ref.digest:
            for entry in entries:
                if entry.digest == ref.digest:
                    return entry
            return self._unlisted(ref)
        tag = ref.with_default_tag().tag
        full = [e for e in entries if e.annotations.get(IMAGE_NAME) == str(ref.with_default_tag())]
        matches = full or [e for e in entries if e.annotations.get(REF_NAME) in (tag, str(ref), ref.familiar)]
        if not matches:
            names = sorted({e.annotations.get(REF_NAME, "") for e in entries} - {""})
            raise SourceError(
                f"tag {tag!r} not found in the OCI layout {self._path}",
                help="available tags: " + ", ".join(names[:8])
                if names
                else "its images have no names; use @sha256:...",
            )
        return matches[-1]

    def manifest(self, ref: Reference, descriptor: Descriptor, cancel: CancelToken) -> bytes:
        """Return a manifest or index, verified."""
        return verified(
            f"{self._path}, the manifest", self._small(_blob(descriptor.digest)), descriptor.digest
        )

    def chunks(
        self, ref: Reference, descriptor: Descriptor, cancel: CancelToken, offset: int = 0
    ) -> Iterator[bytes]:
        """Yield a blob in chunks from ``offset`` on."""
        stream, left = self.files.open(_blob(descriptor.digest))
        with stream:
            stream.seek(offset, os.SEEK_CUR)
            left -= offset
            while left > 0 and (piece := stream.read(min(_CHUNK, left))):
                cancel.check()
                left -= len(piece)
                yield piece

    def entries(self) -> list[Descriptor]:
        """Return the descriptors of ``index.json`` in order."""
        what = f"{self._path}/index.json"
        manifests = read_json(what, self._small("index.json")).get("manifests")
        return [descriptor_from(what, entry) for entry in manifests or ()]

    def holds(self, digest: str) -> bool:
        """Return whether a blob is in the layout."""
        return self.files.has(_blob(digest))

    def open_file(self, name: str) -> tuple[BinaryIO, int]:
        """Open a file by its name in the archive; return it with its size in bytes.

        Raises:
            SourceError: the file does not exist.
        """
        return self.files.open(name)

    def size(self, digest: str) -> int:
        """Return the size in bytes of a blob."""
        stream, size = self.files.open(_blob(digest))
        stream.close()
        return size

    def _unlisted(self, ref: Reference) -> Descriptor:
        data = self._small(_blob(ref.digest))
        body = read_json(f"{self._path}, {ref.digest}", verified(str(self._path), data, ref.digest))
        kind = body.get("mediaType") or (
            "application/vnd.oci.image.index.v1+json"
            if "manifests" in body
            else next(iter(sorted(MANIFESTS)[1:]))
        )
        return Descriptor(media_type=str(kind), digest=ref.digest, size=len(data))

    def _small(self, name: str) -> bytes:
        stream, size = self.files.open(name)
        with stream:
            if size > MAX_MANIFEST:
                raise SourceError(f"{self._path}/{name} is larger than {MAX_MANIFEST >> 20} MiB")
            return stream.read(size)


def open_layout(path: Path) -> LayoutFiles:
    """Return the files of a layout of this machine: a directory or a tar archive.

    Raises:
        SourceError: there is neither, or the archive cannot be read.
    """
    if path.is_file():
        return _ArchiveFiles(path, _index_tar(path))
    if not path.is_dir():
        raise SourceError(f"no OCI layout at {path}", help="check the path of the store")
    return _DirectoryFiles(path)


class _LocalFiles:
    """A `llbkit.worker.session.base.LayoutFiles` of this machine."""

    def __init__(self, path: Path) -> None:
        self.local_path = path
        self.where = str(path)

    def _missing(self, name: str) -> SourceError:
        return SourceError(
            f"{name} is missing from the OCI layout {self.where}",
            help="copy the image again, with all of its platforms",
        )


class _DirectoryFiles(_LocalFiles):
    def has(self, name: str) -> bool:
        return (self.local_path / name).is_file()

    def open(self, name: str) -> tuple[BinaryIO, int]:
        try:
            stream = (self.local_path / name).open("rb")
        except OSError as error:
            raise self._missing(name) from error
        return stream, os.fstat(stream.fileno()).st_size


class _ArchiveFiles(_LocalFiles):
    def __init__(self, path: Path, members: Mapping[str, tuple[int, int]]) -> None:
        super().__init__(path)
        self._members = members

    def has(self, name: str) -> bool:
        return name in self._members

    def open(self, name: str) -> tuple[BinaryIO, int]:
        try:
            offset, size = self._members[name]
            stream = self.local_path.open("rb")
            stream.seek(offset)
        except (OSError, KeyError) as error:
            raise self._missing(name) from error
        return stream, size


def _blob(digest: str) -> str:
    if not is_digest(digest):
        raise SourceError(f"invalid digest {digest!r}")
    algorithm, _, encoded = digest.partition(":")
    return f"blobs/{algorithm}/{encoded}"


def _index_tar(path: Path) -> dict[str, tuple[int, int]]:
    try:
        with path.open("rb") as file:
            return {
                entry.name.removeprefix("./"): (file.tell(), entry.size)
                for entry in TarReader(file.read, skip=lambda size: file.seek(size, os.SEEK_CUR))
                if entry.kind in (b"0", b"7") and entry.segments is None
            }
    except (TarError, OSError) as error:
        raise SourceError(
            f"cannot read the archive {path}: {error}", help="it must be a plain tar file"
        ) from error


def merge_index(existing: Mapping[str, Any] | None, added: list[dict[str, Any]]) -> dict[str, Any]:
    """Return an ``index.json`` in which ``added`` descriptors replace those of the same name."""
    kept: list[dict[str, Any]] = list((existing or {}).get("manifests") or [])
    for entry in added:
        kept = [old for old in kept if not _same_name(old, entry)]
    return {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": kept + added,
    }


def _same_name(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    one, other = old.get("annotations") or {}, new.get("annotations") or {}
    for key in (IMAGE_NAME, REF_NAME):
        if key in one or key in other:
            return bool(one.get(key) == other.get(key))
    return bool(old["digest"] == new["digest"])
