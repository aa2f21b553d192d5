# SPDX-License-Identifier: Apache-2.0
"""Garbage collection: nothing that a root needs is removed, everything else is, during concurrent builds too."""

from __future__ import annotations

import gzip
import json
import os
from contextlib import suppress
from pathlib import Path

import pytest

from llbkit.llb.ir.ops import CacheSharing
from llbkit.solver.cache.sqlite import SQLiteStore
from llbkit.solver.ports import Link, Record
from llbkit.worker.base import Snapshot, WorkerError
from llbkit.worker.host.pools import Token
from llbkit.worker.images import ImageStore
from llbkit.worker.oci import CONFIG, LAYER, MANIFEST, Descriptor, digest_of
from llbkit.worker.sources.repositories import Repositories
from llbkit.worker.state.cachemounts import CacheMounts
from llbkit.worker.state.gc import GarbageCollector, PruneRequest, Usage
from llbkit.worker.state.usagefilter import compile_filters

pytestmark = pytest.mark.root


class World:
    """One process's stores, and another's collector."""

    def __init__(self, root: Path, helpers) -> None:
        self.builder = helpers.Storage(root)
        self.pruner = helpers.Storage(root)
        self.records = SQLiteStore(self.builder.state.cache_db)
        self.images = ImageStore(self.builder.state.metadata, self.builder.content)
        self.caches = CacheMounts(self.builder.state.caches)
        self.now = 1_000_000_000.0 + 10**9
        self.collector = GarbageCollector(
            state=self.pruner.state,
            content=self.pruner.content,
            layers=self.pruner.layers,
            images=ImageStore(self.pruner.state.metadata, self.pruner.content),
            caches=CacheMounts(self.pruner.state.caches),
            repositories=Repositories(self.pruner.state.root / "git"),
            records=self.records,
            clock=lambda: self.now,
        )

    def close(self) -> None:
        self.records.close()
        self.pruner.close()
        self.builder.close()

    def layer(self, size: int = 4096) -> int:
        path = self.builder.state.work / "up"
        path.mkdir()
        (path / "file").write_bytes(os.urandom(size))
        return self.builder.layers.adopt(path, "a step")

    def remember(self, name: str, *layers: int, used: float = 1.0) -> None:
        record = Record(
            id=name, digest=name, tokens=("layers:" + ",".join(map(str, layers)),), name=name, ingredients={},
            created_at=used, last_used_at=used,
        )  # fmt: skip
        self.records.store(record, [Link(name, -1, "", "")])

    def image(self, name: str, *layers: Descriptor) -> list[str]:
        store = self.builder.content
        config = store.put(json.dumps({"name": name}).encode())
        body = {
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": config, "size": store.size(config)},
            "layers": [layer.to_json() for layer in layers],
        }
        digest = store.put(json.dumps(body).encode())
        self.images.put(name, Descriptor(media_type=MANIFEST, digest=digest, size=store.size(digest)))
        return [config, digest, *(layer.digest for layer in layers)]

    def finish(self) -> None:
        """Let the builder be done: what it held is free."""
        self.builder.state.lease.drop()

    def alive(self) -> set[int]:
        rows = {info.id for info in self.pruner.layers.layers()}
        assert set(os.listdir(self.pruner.state.layers)) == {
            str(info.id) for info in self.pruner.layers.layers() if info.unpacked
        }
        return rows

    def blobs(self) -> set[str]:
        return set(self.pruner.content.digests())


@pytest.fixture
def world(tmp_path, helpers):
    made = World(tmp_path / "state", helpers)
    yield made
    made.close()


def test_everything_that_only_caching_needs_goes(world) -> None:
    one, two = world.layer(), world.layer()
    world.remember("a", one)
    world.builder.layers.blob(one)
    world.finish()
    gone = world.collector.prune()
    assert {row.id for row in gone if row.kind == "layer"} == {str(one), str(two)}
    assert world.alive() == world.blobs() == set()
    assert world.records.records() == []
    assert sum(row.size for row in gone) >= 8192


def test_repositories_and_unfinished_downloads_are_told_and_go(world) -> None:
    content, digest = world.builder.content, "sha256:" + "a" * 64
    with suppress(InterruptedError), content.download(digest, 5000) as blob:
        blob.write(b"x" * 4000)
        raise InterruptedError
    repositories = Repositories(world.builder.state.root / "git")
    with repositories.hold("https://me:pw@host/r", "https://me:xxxxx@host/r", Token()) as bare:
        (bare / "HEAD").write_bytes(b"x" * 5000)
        held = {row.kind: row for row in world.collector.usage()}
        assert held["repository"].in_use
        assert [row.kind for row in world.collector.prune()] == ["download"]
    told = {row.kind: row for row in world.collector.usage()}
    assert told["repository"].description == "https://me:xxxxx@host/r"
    assert told["repository"].size >= 5000
    assert [row.kind for row in world.collector.prune(PruneRequest(max_used=1 << 20))] == []
    assert [row.kind for row in world.collector.prune()] == ["repository"]
    assert world.collector.usage() == []
    assert os.listdir(world.builder.state.root / "git") == []


def test_what_takes_no_space_goes_too(world) -> None:
    (world.builder.state.work / "up").mkdir()
    world.remember("empty", world.builder.layers.adopt(world.builder.state.work / "up"))
    world.remember("scratch")
    world.finish()
    world.collector.prune()
    assert world.alive() == set()
    assert world.records.records() == []


def test_what_a_running_build_holds_stays(world) -> None:
    one, two = world.layer(), world.layer()
    world.remember("a", one)
    blob = world.builder.layers.blob(two)
    assert world.collector.prune() == []
    assert world.alive() == {one, two}
    assert world.blobs() == {blob.descriptor.digest}


def test_a_loaded_result_stays_even_if_its_record_goes(world) -> None:
    one, two = world.layer(), world.layer()
    world.remember("a", one, two)
    world.finish()
    assert world.builder.layers.from_token(f"layers:{one},{two}") == Snapshot((one, two))
    world.collector.prune()
    assert world.alive() == {one, two}


def test_a_blob_that_a_process_has_seen_stays(world) -> None:
    digest = world.builder.content.put(b"body")
    world.finish()
    assert world.builder.content.exists(digest)
    world.collector.prune()
    assert world.blobs() == {digest}


def test_images_keep_their_blobs_until_their_name_goes(world) -> None:
    layer = world.layer()
    kept = world.image("docker.io/library/x:1", world.builder.layers.blob(layer).descriptor)
    world.finish()
    assert all(not row.reclaimable for row in world.collector.usage() if row.id in kept)
    world.collector.prune()
    assert world.blobs() == set(kept)
    assert world.alive() == set()
    world.images.remove("x:1")
    world.finish()
    world.pruner.state.lease.drop()
    world.collector.prune()
    assert world.blobs() == set()


def test_the_least_recently_used_go_first_and_only_as_many_as_needed(world) -> None:
    size = 1 << 20
    layers = [world.layer(size) for _ in range(5)]
    for number, layer in enumerate(layers):
        world.remember(f"r{number}", layer, used=float(number))
    world.finish()
    total = sum(row.size for row in world.collector.usage())
    world.collector.prune(PruneRequest(max_used=total - 2 * size))
    assert world.alive() == set(layers[2:])
    assert {record.id for record in world.records.records()} == {"r2", "r3", "r4"}


def test_a_layer_that_a_younger_record_shares_stays(world) -> None:
    base, old, new = world.layer(), world.layer(), world.layer()
    world.remember("old", base, old, used=1.0)
    world.remember("new", base, new, used=9.0)
    world.finish()
    world.now = world.builder.layers.info(new).created_at + 100
    world.collector.prune(PruneRequest(unused_for=world.now - 5.0))
    assert world.alive() == {base, old, new}  # made a moment ago, so old enough only for a longer wait
    world.collector._records.delete(["old"])
    world.now += 1000
    world.collector.prune(PruneRequest(unused_for=500))
    assert world.alive() == set()
    assert [record.id for record in world.records.records()] == []


def test_only_what_was_not_used_for_long_goes(world) -> None:
    old, new = world.layer(), world.layer()
    world.now = world.builder.layers.info(new).created_at + 1000
    world.remember("old", old, used=world.now - 900)
    world.remember("new", new, used=world.now - 10)
    world.finish()
    world.collector.prune(PruneRequest(unused_for=500))
    assert world.alive() == {new}
    assert [record.id for record in world.records.records()] == ["new"]


def test_cache_mounts_go_only_when_asked_for_and_unused(world) -> None:
    with world.caches.acquire("used", CacheSharing.SHARED, Token()), \
            world.caches.acquire("idle", CacheSharing.SHARED, Token()):  # fmt: skip
        pass
    with world.caches.acquire("used", CacheSharing.SHARED, Token()):
        world.collector.prune()
        assert {info.id for info in world.caches.list()} == {"used", "idle"}
        gone = world.collector.prune(PruneRequest(cache_mounts=True))
        assert [row.description for row in gone] == ["idle"]
    assert {info.id for info in world.caches.list()} == {"used"}


def test_what_a_lazy_layer_was_made_on_stays(world, helpers) -> None:
    """A difference may name the upper layer only; its directories' attributes are below."""
    base = world.builder.lazy(helpers.archive(("d", None), ("d/e", b"x")))
    top = world.builder.lazy(helpers.archive(("d/f", b"x")), below=base)
    world.remember("diff", top.layers[-1])
    world.finish()
    world.builder.layers.from_token(f"layers:{top.layers[-1]}")
    world.collector.prune()
    assert world.alive() == set(top.layers)
    world.builder.layers.ensure(Snapshot(top.layers[-1:]))


def test_blobs_of_layers_that_stay_stay(world, helpers) -> None:
    tar = helpers.archive(("f", b"x"))
    snapshot = world.builder.lazy(tar)
    world.builder.layers.ensure(snapshot)
    world.finish()
    world.builder.layers.from_token(world.builder.layers.to_token(snapshot))
    world.collector.prune()
    assert world.blobs() == {digest_of(gzip.compress(tar, 1, mtime=0))}


def test_what_a_dead_process_left_half_removed_is_swept(world) -> None:
    (world.pruner.state.layers / "77").mkdir()
    (world.pruner.state.caches / ".grave").mkdir(parents=True)
    world.finish()
    world.collector.prune()
    assert os.listdir(world.pruner.state.layers) == os.listdir(world.pruner.state.caches) == []


def test_usage_tells_what_there_is(world) -> None:
    layer = world.layer(1 << 20)
    world.remember("a", layer, used=123.0)
    blob = world.builder.layers.blob(layer).descriptor
    with world.caches.acquire("go-build", CacheSharing.SHARED, Token()) as path:
        (path / "x").write_bytes(os.urandom(4096))
    held = {row.id: row for row in world.collector.usage()}
    assert not held[str(layer)].reclaimable
    world.finish()
    rows = {row.id: row for row in world.collector.usage()}
    assert rows[str(layer)].kind == "layer"
    assert rows[str(layer)].reclaimable
    assert rows[str(layer)].last_used_at == 123.0
    assert rows[str(layer)].description == "a step"
    assert rows[blob.digest].size == blob.size
    (cache,) = [row for row in rows.values() if row.kind == "cache mount"]
    assert cache.description == "go-build"
    assert cache.size >= 4096
    assert blob.media_type.startswith(LAYER)


@pytest.mark.parametrize(
    ("request_", "used", "free", "excess"),
    [
        (PruneRequest(max_used=1), 100, 5, 99),
        (PruneRequest(max_used=30), 100, 5, 70),
        (PruneRequest(max_used=300), 100, 5, -200),
        (PruneRequest(min_free=25), 100, 5, 20),
        (PruneRequest(min_free=3), 100, 5, 0),
        (PruneRequest(min_free=25, max_used=30), 100, 5, 70),
        (PruneRequest(min_free=95, max_used=90), 100, 5, 90),
        (PruneRequest(reserved=40), 100, 5, 60),
        (PruneRequest(reserved=40, min_free=1000), 100, 5, 60),
        (PruneRequest(reserved=400), 100, 5, -300),
    ],
)
def test_how_much_goes(request_, used, free, excess) -> None:
    assert request_.excess(used, free) == excess


def test_enough_free_space_removes_nothing(world) -> None:
    layer = world.layer()
    world.finish()
    assert world.collector.prune(PruneRequest(min_free=1)) == []
    assert world.alive() == {layer}


def test_filters_choose_what_goes(world) -> None:
    one, two = world.layer(), world.layer()
    world.remember("a", one)
    world.remember("b", two)
    blob = world.builder.content.put(b"body")
    world.finish()
    world.collector.prune(PruneRequest(filters=(f"type==regular,id=={one}",)))
    assert world.alive() == {two}
    assert world.blobs() == {blob}
    assert [record.id for record in world.records.records()] == ["b"]


def test_parents_and_counts_come_from_records(world) -> None:
    one, two = world.layer(), world.layer()
    world.remember("a", one, two)
    world.records.touch(["a"], 50.0)
    rows = {row.id: row for row in world.collector.usage(["type==regular"])}
    assert rows[str(two)].parents == (str(one),)
    assert rows[str(two)].usage_count == 1
    assert rows[str(two)].last_used_at == 50.0
    assert rows[str(two)].in_use


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("id==1", True),
        ("id!=1", False),
        ("id==1,mutable", False),
        ("id==1,immutable", True),
        ("type==regular", True),
        ("description~=^RUN", True),
        ('description=="RUN a, b"', True),
        ('description~="a, b$",private', True),
        ("parents==7", True),
        ("parents==8", False),
        ("inuse", True),
        ("shared", False),
    ],
)
def test_filter_syntax(text, matches) -> None:
    usage = Usage(
        id="1", kind="layer", size=1, description="RUN a, b", created_at=0, last_used_at=0, reclaimable=False,
        in_use=True, parents=("7",),
    )  # fmt: skip
    assert compile_filters([text])(usage) == matches
    assert compile_filters([text, "id==1"])(usage)
    assert compile_filters([])(usage)


@pytest.mark.parametrize("text", ["nothing==1", "id=1", "==", "description~=(", "id==1 type==2,,"])
def test_a_malformed_filter_is_explained(text) -> None:
    with pytest.raises(WorkerError) as caught:
        compile_filters([text])
    assert caught.value.help
