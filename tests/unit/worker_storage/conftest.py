# SPDX-License-Identifier: Apache-2.0
"""Storage on a fresh state directory, and layers as blobs made by Python's own tarfile."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from llbkit.worker.base import SCRATCH, Snapshot
from llbkit.worker.content.store import ContentStore
from llbkit.worker.oci import LAYER, Descriptor, digest_of
from llbkit.worker.snapshot.layers import LayerStore
from llbkit.worker.state.directory import StateDir


def archive(*members: tuple[str, object]) -> bytes:
    """Return a tar. A member is (name, what): bytes, None (directory), "->target", "=hard link" or a TarInfo."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, what in members:
            info = tarfile.TarInfo(name)
            info.mtime = 1_000_000
            info.mode = 0o644
            data = b""
            match what:
                case bytes():
                    data = what
                    info.size = len(what)
                case None:
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                case str() if what.startswith("->"):
                    info.type, info.linkname = tarfile.SYMTYPE, what[2:]
                case str() if what.startswith("="):
                    info.type, info.linkname = tarfile.LNKTYPE, what[1:]
                case tarfile.TarInfo():
                    info = what
                    info.name = name
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


class Storage:
    """A state directory with its stores, and an image of layers that are fetched from memory."""

    def __init__(self, root: Path) -> None:
        self.state = StateDir(root)
        self.content = ContentStore(self.state)
        self.layers = LayerStore(self.state, self.content)
        self.layers.fetch = self._fetch
        self.remote: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self._chain = ""

    def close(self) -> None:
        self.state.close()

    def _fetch(self, descriptor: Descriptor, source: str, cancel, progress) -> None:
        self.fetched.append(descriptor.digest)
        with self.content.writer(descriptor.digest) as writer:
            writer.write(self.remote[descriptor.digest])

    def lazy(
        self, tar: bytes, *, below: Snapshot = SCRATCH, diff_id: str = "", blob: bytes = b""
    ) -> Snapshot:
        """Register a lazy layer on top of another lazy stack."""
        blob = blob or gzip.compress(tar, 1, mtime=0)
        digest = digest_of(blob)
        self.remote[digest] = blob
        layer = self.layers.add_remote(
            Descriptor(media_type=LAYER + "+gzip", digest=digest, size=len(blob)),
            diff_id=diff_id or digest_of(tar),
            parent=below.layers[-1] if below.layers else None,
            source="docker-image://somewhere",
        )
        return Snapshot((*below.layers, layer))

    def adopted(self, name: str) -> int:
        """Adopt a directory with one file."""
        path = self.state.work / name
        path.mkdir()
        (path / name).write_text(name)
        return self.layers.adopt(path)

    def unpacked(self, *tars: bytes) -> list[Path]:
        """Return the directories of a stack of layers, bottom first, unpacked."""
        snapshot = Snapshot()
        for tar in tars:
            snapshot = self.lazy(tar, below=snapshot)
        self.layers.ensure(snapshot)
        return [self.layers.path(layer) for layer in snapshot.layers]


@pytest.fixture
def storage(tmp_path):
    made = Storage(tmp_path / "state")
    yield made
    made.close()


@pytest.fixture
def helpers():
    return SimpleNamespace(
        archive=archive, Storage=Storage, sha=lambda data: hashlib.sha256(data).hexdigest()
    )
