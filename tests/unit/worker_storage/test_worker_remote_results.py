# SPDX-License-Identifier: Apache-2.0
"""Results described for elsewhere: which blobs, made when, and made a snapshot of again."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import zstandard

from llbkit.worker.base import Snapshot, SourceError
from llbkit.worker.content.store import DamagedBlobError
from llbkit.worker.host.pools import Token
from llbkit.worker.oci import digest_of
from llbkit.worker.remote import BlobOptions, Remote, RemoteLayer, register, remote_of
from llbkit.worker.results import Filesystem, Results
from llbkit.worker.session.directory import LocalDirectory
from llbkit.worker.sources.localtree import LocalTree
from llbkit.worker.sources.statcache import StatCache

pytestmark = pytest.mark.root

CREATE = BlobOptions(create=True)


@pytest.fixture
def remote(storage):
    """Return a function that describes a filesystem."""
    results = Results(storage.layers, storage.state.lease)

    def remote(filesystem: Filesystem, options: BlobOptions | None = None) -> Remote | None:
        result = results.hold(filesystem)
        try:
            return remote_of(
                result, filesystem, options or BlobOptions(), layers=storage.layers, content=storage.content,
                fetch=storage.layers.fetch, cancel=Token(),
            )  # fmt: skip
        finally:
            result.release()

    return remote


def read(remote: Remote, layer: RemoteLayer) -> bytes:
    with remote.open(layer, Token()) as blob:
        return blob.read()


def test_a_layer_made_here_is_compressed_on_request_only_and_once(storage, remote) -> None:
    made = Snapshot((storage.adopted("a"), storage.adopted("b")))
    assert remote(made) is None
    assert list(storage.content.digests()) == []
    first = remote(made, CREATE)
    assert [digest_of(gzip.decompress(read(first, layer))) for layer in first.layers] == [
        layer.diff_id for layer in first.layers
    ]
    assert [layer.source for layer in first.layers] == ["", ""]
    assert all(layer.created_at > 0 for layer in first.layers)
    blobs = set(storage.content.digests())
    assert remote(made).layers == remote(made, CREATE).layers == first.layers
    assert set(storage.content.digests()) == blobs


def test_one_layer_without_a_blob_is_enough_for_none(storage, remote, helpers) -> None:
    pulled = storage.lazy(helpers.archive(("x", b"1")))
    assert remote(Snapshot((*pulled.layers, storage.adopted("a")))) is None
    assert storage.fetched == []


def test_what_was_never_fetched_is_described_as_it_is_elsewhere(storage, remote, helpers) -> None:
    below = storage.lazy(helpers.archive(("x", b"1")))
    snapshot = storage.lazy(helpers.archive(("y", b"2")), below=below)
    found = remote(snapshot, CREATE)
    assert [layer.descriptor.digest for layer in found.layers] == list(storage.remote)
    assert [layer.source for layer in found.layers] == ["docker-image://somewhere"] * 2
    assert storage.fetched == []
    assert digest_of(read(found, found.layers[1])) == found.layers[1].descriptor.digest
    assert storage.fetched == [found.layers[1].descriptor.digest]


def test_another_compression_is_insisted_on_or_not(storage, remote, helpers) -> None:
    tar = helpers.archive(("x", b"1"))
    pulled = storage.lazy(tar)
    (as_it_is,) = remote(pulled, BlobOptions(compression="zstd", create=True)).layers
    assert as_it_is.descriptor.media_type.endswith("gzip")
    assert remote(pulled, BlobOptions(compression="zstd", force=True)) is None
    forced = remote(pulled, BlobOptions(compression="zstd", force=True, create=True))
    (layer,) = forced.layers
    assert layer.descriptor.media_type.endswith("zstd")
    assert zstandard.ZstdDecompressor().decompressobj().decompress(read(forced, layer)) == tar
    assert layer.diff_id == as_it_is.diff_id == digest_of(tar)
    assert remote(pulled, BlobOptions(compression="zstd", force=True)).layers == forced.layers


def test_scratch_has_no_layers(remote) -> None:
    assert remote(Snapshot()).layers == ()


def test_a_local_directory_is_copied_on_request_only(storage, remote, tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    made: list[Snapshot] = []

    def materialize(tree: LocalTree) -> Snapshot:
        made.append(Snapshot((storage.adopted("copy"),)))
        return made[-1]

    tree = LocalTree(LocalDirectory(tmp_path / "context"), StatCache("x", None), materialize=materialize)
    assert remote(tree) is None
    assert made == []
    (layer,) = remote(tree, CREATE).layers
    assert storage.layers.blob(made[0].layers[0]).descriptor == layer.descriptor


def test_the_same_snapshot_is_made_of_it_elsewhere_and_nothing_is_fetched_before_it_is_needed(
    storage, remote, helpers, tmp_path: Path
) -> None:
    pulled = storage.lazy(helpers.archive(("dir", None), ("dir/x", b"1")))
    snapshot = Snapshot((*pulled.layers, storage.adopted("own")))
    found = remote(snapshot, CREATE)
    other = helpers.Storage(tmp_path / "other")
    other.remote = {layer.descriptor.digest: read(found, layer) for layer in found.layers}
    there = register(found.layers, other.layers, Token())
    assert register(found.layers, other.layers, Token()) == there
    assert other.fetched == []
    assert [other.layers.info(layer).diff_id for layer in there.layers] == [
        one.diff_id for one in found.layers
    ]
    other.layers.ensure(there)
    bottom, top = (other.layers.path(layer) for layer in there.layers)
    assert (bottom / "dir/x").read_bytes() == b"1"
    assert (top / "own").read_text() == "own"
    described = remote_of(
        Results(other.layers, other.state.lease).hold(there), there, BlobOptions(), layers=other.layers,
        content=other.content, fetch=other.layers.fetch, cancel=Token(),
    )  # fmt: skip
    assert [layer.descriptor for layer in described.layers] == [layer.descriptor for layer in found.layers]
    other.close()


def test_it_keeps_the_result_until_it_is_released(storage, remote) -> None:
    with storage.state.lease.working():
        made = Snapshot((storage.adopted("a"),))
        found = remote(made, CREATE)
    assert storage.layers.remove_unused(made.layers) == []
    found.release()
    found.release()
    assert storage.layers.remove_unused(made.layers) == list(made.layers)


def test_a_blob_that_is_damaged_or_cannot_be_had_is_said_so(storage, remote, helpers) -> None:
    found = remote(Snapshot((storage.adopted("a"),)), CREATE)
    path = storage.content.path(found.layers[0].descriptor.digest)
    path.write_bytes(b"damage")
    with pytest.raises(DamagedBlobError):
        read(found, found.layers[0])
    assert not path.exists()
    far = remote(storage.lazy(helpers.archive(("x", b"1"))))

    def fetch(*_: object) -> None:
        raise SourceError("no route to host")

    far._fetch = fetch
    with pytest.raises(SourceError, match="no route to host"):
        read(far, far.layers[0])
