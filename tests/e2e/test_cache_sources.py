# SPDX-License-Identifier: Apache-2.0
"""What one machine has built, another one finds: records by their keys, results by descriptors of their layers."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from llbkit import Engine
from llbkit.llb import State, bind, local, scratch
from llbkit.solver import Solver
from llbkit.solver.events import Event, VertexCompleted, VertexWarning
from llbkit.solver.ports import Link, Loaded, Record, Result
from llbkit.worker.base import CancelToken
from llbkit.worker.oci import Descriptor
from llbkit.worker.remote import BlobOptions, Remote, register
from llbkit.worker.state.gc import PruneRequest

pytestmark = pytest.mark.root


class Peer:
    """A `llbkit.solver.ports.CacheSource`: the store of another engine, whose layers are sent as blobs when needed."""

    name = "peer"

    def __init__(self, engine: Engine, to: Engine) -> None:
        self.engine, self.to = engine, to
        self.queries = 0
        self.sent: list[str] = []
        self.remotes: dict[str, Remote] = {}
        self._fetch = to.worker.layers.fetch
        to.worker.layers.fetch = self.fetch
        to.solver = Solver(to.worker, to.worker.cache_store, sources=[self], resources=to.settings.parallel)

    async def query(self, links: Sequence[Link]) -> Sequence[frozenset[str]]:
        self.queries += 1
        return self.engine.worker.cache_store.linked(links)

    async def load(self, record_ids: Collection[str]) -> Loaded | None:
        for record in self.engine.worker.cache_store.select(record_ids):
            results = [await self._received(token) for token in record.tokens]
            found = tuple(result for result in results if result is not None)
            if len(found) == len(results):
                return Loaded(record, found)
        return None

    async def _received(self, token: str) -> Result | None:
        there = self.engine.worker.load(token)
        remote = (
            await self.engine.worker.remote(there, BlobOptions(create=True)) if there is not None else None
        )
        if remote is None:
            return None
        layers = [replace(layer, source="peer://") for layer in remote.layers]
        self.remotes |= {layer.descriptor.digest: remote for layer in layers}
        snapshot = await self.to.worker.pools.run(
            "disk", lambda cancel: register(layers, self.to.worker.layers, cancel)
        )
        return self.to.worker.load(self.to.worker.layers.to_token(snapshot))

    async def save(self, record: Record, links: Sequence[Link], results: Sequence[Result]) -> bool:
        return False

    def fetch(
        self,
        descriptor: Descriptor,
        source: str,
        cancel: CancelToken,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        if source != "peer://":
            return self._fetch(descriptor, source, cancel, progress)
        self.sent.append(descriptor.digest)
        remote = self.remotes[descriptor.digest]
        (layer,) = [one for one in remote.layers if one.descriptor.digest == descriptor.digest]
        with (
            remote.open(layer, cancel) as blob,
            self.to.worker.content.writer(descriptor.digest, descriptor.size) as writer,
        ):
            writer.write(blob.read())
        return None


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    shutil.copy("/bin/busybox", folder / "busybox")
    (folder / "file").write_text("1")
    return folder


def program(end: str = "end") -> State:
    base = scratch().mkdir("/bin").copy(local("context"), "/busybox", "/bin/busybox")
    made = base.run(["/bin/busybox", "sh", "-c", "cd /; /bin/busybox date +%s%N > /stamp"]).root
    return made.run(["/bin/busybox", "cp", "/in/stamp", "/copy"], mounts=[bind(made, "/in")]).root.mkfile(
        "/end", end
    )


def solve(engine: Engine, state: State, context: Path, events: list[Event] | None = None, **options: object):
    progress = (events if events is not None else []).append
    return asyncio.run(engine.solve(state, locals={"context": context}, progress=progress, **options))


def executed(events: list[Event]) -> int:
    return sum(isinstance(event, VertexCompleted) and not event.cached for event in events)


def test_another_engine_executes_nothing_and_gets_equal_files_and_bytes(
    tmp_path: Path, context: Path
) -> None:
    with Engine(root=tmp_path / "one") as one, Engine(root=tmp_path / "two") as two:
        first = solve(one, program(), context, outputs=[f"type=oci,dest={tmp_path}/one.tar"])
        peer = Peer(one, two)
        events: list[Event] = []
        second = solve(two, program(), context, events)
        assert peer.sent == [], "nothing is sent before it is needed"
        assert executed(events) == 1, "only the local directory is looked at"
        for path in ("/stamp", "/copy", "/end"):
            assert asyncio.run(second.read_file(path)) == asyncio.run(first.read_file(path))
        solve(two, program(), context, outputs=[f"type=oci,dest={tmp_path}/two.tar"])
        assert not [event for event in events if isinstance(event, VertexWarning)]
        asked = peer.queries
        again: list[Event] = []
        solve(two, program(), context, again)
        assert executed(again) == 1
        assert peer.queries == asked


def test_what_is_new_goes_on_from_what_the_other_has(tmp_path: Path, context: Path) -> None:
    with Engine(root=tmp_path / "one") as one, Engine(root=tmp_path / "two") as two:
        first = solve(one, program(), context)
        peer = Peer(one, two)
        events: list[Event] = []
        second = solve(two, program("another"), context, events)
        assert executed(events) == 2, "the local directory, and the last step"
        assert peer.sent
        assert asyncio.run(second.read_file("/stamp")) == asyncio.run(first.read_file("/stamp"))
        assert asyncio.run(second.read_file("/end")) == b"another"


def test_what_the_other_has_lost_is_made_here(tmp_path: Path, context: Path) -> None:
    with Engine(root=tmp_path / "one") as one, Engine(root=tmp_path / "two") as two:
        solve(one, program(), context).release()
        records = one.worker.cache_store.records()
        one.worker.pools.run_sync("disk", lambda _: one.worker.collector.prune(PruneRequest()))
        for record in records:
            one.worker.cache_store.store(record, [Link(record.digest, -1, "", "")])
        Peer(one, two)
        events: list[Event] = []
        solution = solve(two, program(), context, events)
        assert executed(events) > 2
        assert asyncio.run(solution.read_file("/end")) == b"end"
        assert not [event for event in events if isinstance(event, VertexWarning)]
