# SPDX-License-Identifier: Apache-2.0
"""Writing OCI layouts and docker archives: sorted tar records without times or owners, or a directory."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from llbkit.filelock import locked_directory
from llbkit.worker.base import CancelToken, StorageError
from llbkit.worker.content.layout import merge_index
from llbkit.worker.content.provider import Blobs, Readable, read_json
from llbkit.worker.content.store import DamagedBlobError
from llbkit.worker.oci import Descriptor

if TYPE_CHECKING:
    import tarfile

_CHUNK = 1 << 20
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


def blob_path(digest: str) -> str:
    """Return a blob's path in a layout."""
    algorithm, _, encoded = digest.partition(":")
    return f"blobs/{algorithm}/{encoded}"


def compact(value: object) -> bytes:
    """Return JSON without spaces, in the order of the value's keys, escaped as Go's encoder does."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return go_escape(text).encode()


def go_escape(text: str) -> str:
    """Escape in JSON text what Go's encoder escapes and Python's does not."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def write_tar(
    stream: BinaryIO,
    *,
    store: Blobs,
    blobs: Iterable[Descriptor],
    index: Mapping[str, Any],
    docker_manifest: bytes | None,
    cancel: CancelToken,
) -> None:
    """Write an image archive to ``stream``, which need not be seekable. Equal content gives equal bytes.

    Raises:
        DamagedBlobError: a blob does not have its digest; what was written so far is of no use.
    """
    import tarfile

    unique = {blob_path(blob.digest): blob for blob in blobs}
    directories = {"blobs/"} | {path.rpartition("/")[0] + "/" for path in unique}
    small: dict[str, tuple[int, bytes]] = {
        "oci-layout": (0o444, LAYOUT),
        "index.json": (0o644, compact(index)),
    }
    if docker_manifest is not None:
        small["manifest.json"] = (0o644, docker_manifest)
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_CHUNK) as archive:
        for path in sorted([*unique, *directories, *small]):
            if path in directories:
                member = tarfile.TarInfo(path.rstrip("/"))
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
            elif path in small:
                mode, data = small[path]
                archive.addfile(_member(path, mode, len(data)), BytesIO(data))
            else:
                with store.verified(unique[path].digest) as source:
                    archive.addfile(_member(path, 0o444, unique[path].size), Checked(source, cancel))
                    source.read()


def _member(path: str, mode: int, size: int) -> tarfile.TarInfo:
    import tarfile

    member = tarfile.TarInfo(path)
    member.mode, member.size = mode, size
    return member


class Checked(BytesIO):
    """A stream that can be given up between two reads."""

    def __init__(self, source: Readable, cancel: CancelToken) -> None:
        super().__init__()
        self._source = source
        self._cancel = cancel

    def read(self, size: int | None = -1, /) -> bytes:
        """Read from the source, unless cancelled."""
        self._cancel.check()
        return self._source.read(-1 if size is None else size)


def write_directory(
    directory: Path,
    *,
    store: Blobs,
    blobs: Iterable[Descriptor],
    index: Mapping[str, Any],
    cancel: CancelToken,
) -> None:
    """Add an image to an OCI layout directory, made if missing; blobs that are there are not written again.

    Raises:
        DamagedBlobError: a blob does not have its digest; it is not written.
        StorageError: the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for blob in blobs:
            _write_blob(directory / blob_path(blob.digest), blob, store, cancel)
        _replace(directory / "oci-layout", LAYOUT)
        with locked_directory(directory):
            path = directory / "index.json"
            existing = read_json(str(path), path.read_bytes()) if path.exists() else None
            _replace(path, compact(merge_index(existing, list(index["manifests"]))))
    except DamagedBlobError:
        raise
    except OSError as error:
        raise StorageError(
            f"cannot write the OCI layout {directory}: {error.strerror or error}",
            help="check free space and permissions",
        ) from error


def _write_blob(path: Path, blob: Descriptor, store: Blobs, cancel: CancelToken) -> None:
    with suppress(FileNotFoundError):
        if path.stat().st_size == blob.size:
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with store.verified(blob.digest) as source, temporary.open("wb") as target:
            while piece := source.read(_CHUNK):
                cancel.check()
                target.write(piece)
        temporary.chmod(0o444)
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.rename(path)
