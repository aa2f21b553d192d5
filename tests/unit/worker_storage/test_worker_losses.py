# SPDX-License-Identifier: Apache-2.0
"""Parts of the state directory that were removed or damaged from outside are made again; nothing takes their name."""

from __future__ import annotations

import os
import shutil

import pytest

from llbkit.filelock import locked, try_lock
from llbkit.worker.base import Snapshot, StorageError
from llbkit.worker.content.store import DamagedBlobError
from llbkit.worker.state.directory import StateDir


def test_layers_of_a_lost_database_never_get_the_same_numbers(tmp_path, helpers) -> None:
    """Records elsewhere still name the old ones."""
    first = helpers.Storage(tmp_path / "state")
    old = {first.adopted(f"layer{i}") for i in range(5)}
    first.close()
    for path in (tmp_path / "state").glob("metadata.db*"):
        path.unlink()
    second = helpers.Storage(tmp_path / "state")
    assert old.isdisjoint({second.adopted(f"layer{i}") for i in range(5)})
    assert all(second.layers.from_token(f"layers:{layer}") is None for layer in old)
    second.close()


def test_layers_of_two_clones_never_get_the_same_numbers(tmp_path, helpers) -> None:
    helpers.Storage(tmp_path / "one").close()
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    made = []
    for name in ("one", "two"):
        storage = helpers.Storage(tmp_path / name)
        made += [storage.adopted(f"layer{i}") for i in range(3)]
        storage.close()
    assert len(set(made)) == 6


@pytest.mark.parametrize("part", ["fs", "."])
def test_a_made_layer_without_its_directory_is_forgotten(storage, helpers, part) -> None:
    layer = storage.adopted("file")
    shutil.rmtree(storage.state.layers / str(layer) / part)
    assert storage.layers.from_token(f"layers:{layer}") is None
    with pytest.raises(KeyError):
        storage.layers.info(layer)


def test_a_made_layer_that_goes_while_it_is_used_is_named_with_the_way_out(storage) -> None:
    layer = storage.adopted("file")
    snapshot = storage.layers.from_token(f"layers:{layer}")
    shutil.rmtree(storage.state.layers / str(layer))
    with pytest.raises(StorageError, match="was removed from the state directory") as raised:
        storage.layers.ensure(snapshot)
    assert "build again" in raised.value.help
    assert storage.layers.from_token(f"layers:{layer}") is None


@pytest.mark.parametrize("seen", [True, False])
def test_a_pulled_layer_without_its_directory_is_brought_in_again(storage, helpers, seen) -> None:
    snapshot = storage.lazy(helpers.archive(("file", b"content")))
    storage.layers.ensure(snapshot)
    token = storage.layers.to_token(snapshot)
    if seen:
        storage.layers.from_token(token)
    shutil.rmtree(storage.state.layers)
    storage.state.layers.mkdir()
    assert storage.layers.from_token(token) == snapshot
    storage.layers.ensure(snapshot)
    assert (storage.layers.path(snapshot.layers[0]) / "file").read_bytes() == b"content"


def test_a_pulled_layer_is_fetched_again_when_its_blob_is_gone_too(storage, helpers) -> None:
    snapshot = storage.lazy(helpers.archive(("file", b"content")))
    storage.layers.ensure(snapshot)
    shutil.rmtree(storage.layers.path(snapshot.layers[0]).parent)
    storage.content.delete(storage.fetched[0])
    storage.layers.ensure(Snapshot(snapshot.layers))
    assert len(storage.fetched) == 2


@pytest.mark.parametrize("damage", [b"", b"conten", b"Content", b"content and more"])
def test_a_damaged_blob_is_removed_by_its_reader(storage, damage) -> None:
    digest = storage.content.put(b"content")
    storage.content.path(digest).write_bytes(damage)
    with pytest.raises(DamagedBlobError):
        storage.content.read(digest)
    assert not storage.content.exists(digest)
    assert storage.content.put(b"content") == digest
    with storage.content.verified(digest) as blob:
        assert [blob.read(4), blob.read(4), blob.read(4)] == [b"cont", b"ent", b""]


def test_a_blob_that_was_cut_is_noticed_before_its_reader_misses_the_rest(storage) -> None:
    digest = storage.content.put(b"content")
    storage.content.path(digest).write_bytes(b"conte")
    with storage.content.verified(digest) as blob:
        assert blob.read(4) == b"cont"
        with pytest.raises(DamagedBlobError):
            blob.read(4)


def test_a_damaged_blob_that_is_copied_piece_by_piece_is_noticed_at_its_end(storage, tmp_path) -> None:
    digest = storage.content.put(b"content")
    storage.content.path(digest).write_bytes(b"xontent")
    with (
        open(tmp_path / "copy", "wb") as target,
        storage.content.verified(digest) as blob,
        pytest.raises(DamagedBlobError),
    ):
        shutil.copyfileobj(blob, target, 3)
    assert not storage.content.exists(digest)


def test_folders_that_were_removed_are_made_again(tmp_path) -> None:
    StateDir(tmp_path).close()
    for name in ("layers", "work", "content", "run", "tmp", "mounts", "caches"):
        shutil.rmtree(tmp_path / name)
        state = StateDir(tmp_path)
        assert (tmp_path / name).is_dir()
        state.close()


def test_a_lock_whose_folder_was_removed_can_be_had(tmp_path) -> None:
    """Whoever waits for it waited for ever."""
    with locked(tmp_path / "gone" / "lock"):
        assert try_lock(tmp_path / "gone" / "lock") is None
    assert try_lock(tmp_path / "gone again" / "lock", create=False) is None


def test_a_living_process_whose_file_was_removed_keeps_its_work(tmp_path) -> None:
    state = StateDir(tmp_path)
    state.lease.pin_blob("sha256:x")
    shutil.rmtree(tmp_path / "run")
    other = StateDir(tmp_path)
    assert state.work.is_dir()
    assert other.lease.blobs() == {"sha256:x"}
    state.close()
    other.close()


def test_what_the_dead_left_is_removed_without_their_files_too(tmp_path) -> None:
    state = StateDir(tmp_path)
    with state.metadata.transaction() as db:
        db.execute("INSERT INTO lease VALUES ('1-gone', 'blob', 'sha256:x')")
    (tmp_path / "work" / "2-gone").mkdir()
    (state.layers / ".2-gone.7.x").mkdir()
    state.close()
    state = StateDir(tmp_path)
    assert state.lease.blobs() == frozenset()
    assert os.listdir(tmp_path / "work") == [state.owner]
    assert os.listdir(state.layers) == []
    state.close()
