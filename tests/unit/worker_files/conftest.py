# SPDX-License-Identifier: Apache-2.0
"""A worker's file side on a fresh state directory: real layers, real overlay mounts."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Edge, Metadata, Vertex
from llbkit.worker.base import SCRATCH, Snapshot
from llbkit.worker.content.store import ContentStore
from llbkit.worker.fs.contenthash import ContentHasher, StoredDigests
from llbkit.worker.host.pools import Pools
from llbkit.worker.ops.diff import DiffOperation
from llbkit.worker.ops.file.op import FileOperation
from llbkit.worker.ops.merge import MergeOperation
from llbkit.worker.snapshot.layers import LayerStore
from llbkit.worker.snapshot.overlay import OverlaySnapshotter
from llbkit.worker.sources.statcache import StatCaches
from llbkit.worker.state.directory import StateDir


def tree(path: Path) -> dict[str, tuple]:
    """Return path -> (kind, mode, uid:gid, content or target) of everything below a directory."""
    out = {}
    for folder, directories, files in os.walk(path):
        for name in (*directories, *files):
            full = os.path.join(folder, name)
            status = os.lstat(full)
            owner = f"{status.st_uid}:{status.st_gid}"
            mode = stat.S_IMODE(status.st_mode)
            relative = os.path.relpath(full, path)
            if stat.S_ISLNK(status.st_mode):
                out[relative] = ("link", owner, os.readlink(full))
            elif stat.S_ISDIR(status.st_mode):
                out[relative] = ("dir", mode, owner)
            elif stat.S_ISREG(status.st_mode):
                out[relative] = ("file", mode, owner, Path(full).read_bytes())
            else:
                out[relative] = ("special", mode, owner, status.st_rdev)
    return out


class Step:
    """A step that nobody watches."""

    name = "test"
    metadata = Metadata()

    def log(self, stream: int, data: bytes) -> None: ...

    def status(
        self,
        id: str,  # noqa: A002
        name: str,
        current: int,
        total: int,
        *,
        done: bool = False,
    ) -> None: ...


class World:
    """Builds snapshots, runs operations, looks at results."""

    def __init__(self, root: Path) -> None:
        self.state = StateDir(root)
        self.layers = LayerStore(self.state, ContentStore(self.state))
        self.snapshotter = OverlaySnapshotter(self.state, self.layers)
        self.pools = Pools({"disk": 2, "cpu": 1, "net": 1, "exec": 1}, private_mounts=True)
        self.hasher = ContentHasher(self.snapshotter, self.layers.ensure, StoredDigests(self.state.metadata))
        self.caches = StatCaches(root / "statcache")

    def close(self) -> None:
        self.pools.close()
        self.state.close()

    def vertex(self, op: ops.Op, count: int = 0, *, source: str = "docker-image://x") -> Vertex:
        below = Vertex(op=ops.Source(identifier=source), inputs=(), digest=source, raw=b"")
        return Vertex(op=op, inputs=(Edge(below),) * count, digest="d", raw=b"")

    def operation(self, op: ops.Op, count: int, **arguments: object):
        vertex = self.vertex(op, count, **arguments)
        match op:
            case ops.File():
                return FileOperation(
                    vertex,
                    snapshotter=self.snapshotter,
                    ensure=self.layers.ensure,
                    hasher=self.hasher,
                    pools=self.pools,
                )
            case ops.Merge():
                return MergeOperation(vertex, hasher=self.hasher, pools=self.pools)
            case ops.Diff():
                return DiffOperation(
                    vertex,
                    snapshotter=self.snapshotter,
                    ensure=self.layers.ensure,
                    hasher=self.hasher,
                    pools=self.pools,
                )
        raise AssertionError(op)

    def run(self, op: ops.Op, *inputs: object) -> list:
        return list(asyncio.run(self.operation(op, len(inputs)).execute(inputs, Step())))

    def files(self, *actions: ops.Action, base: object = None, source: object = SCRATCH) -> Snapshot:
        """Run a chain on ``base``; copies take from ``source``."""
        count = 2
        items = tuple(
            ops.FileAction(
                action=action,
                input=0 if i == 0 else count + i - 1,
                secondary_input=1 if isinstance(action, ops.Copy) else -1,
                output=0 if i == len(actions) - 1 else -1,
            )
            for i, action in enumerate(actions)
        )
        return self.run(ops.File(actions=items), base or SCRATCH, source)[0]

    def make(self, entries: dict[str, object]) -> Snapshot:
        """Make a snapshot of ``path -> bytes | None (directory) | "target"``."""

        def work(token: object) -> Snapshot:
            with self.snapshotter.prepare(SCRATCH) as active:
                fill(active.path, entries)
                return active.commit()

        return self.pools.run_sync("disk", work)

    def look(self, snapshot: Snapshot) -> dict[str, tuple]:
        def work(token: object) -> dict[str, tuple]:
            with self.snapshotter.view(snapshot) as path:
                return {name: node for name, node in tree(path).items() if node[0] != "special" or node[3]}

        return self.pools.run_sync("disk", work)

    def inside(self, snapshot: Snapshot, function):
        """Return ``function(path)`` for the shown snapshot."""

        def work(token: object):
            with self.snapshotter.view(snapshot) as path:
                return function(path)

        return self.pools.run_sync("disk", work)


def fill(root: Path, entries: dict[str, object]) -> None:
    for name, content in entries.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir(exist_ok=True)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.symlink_to(content)


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path / "state")
    yield made
    made.close()


@pytest.fixture
def helpers():
    return SimpleNamespace(World=World, fill=fill, tree=tree, Step=Step)
