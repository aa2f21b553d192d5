# SPDX-License-Identifier: Apache-2.0
"""Steps executed for real: each snapshotter with a runtime, on one state directory that all tests share.

The base is a busybox root made of files only, so no step depends on another. Each pair of snapshotter and runtime is
used by every test that asks for ``bench``; a second exec of the same op runs again, since nothing here looks at keys.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Edge, LinuxResources, Metadata, Vertex
from llbkit.solver.ports import ContentKey
from llbkit.worker.base import SCRATCH, Snapshot, Snapshotter
from llbkit.worker.content.store import ContentStore
from llbkit.worker.host.pools import Pools
from llbkit.worker.ops.exec.op import ExecOperation, ExecParts
from llbkit.worker.runtime.process import Containers
from llbkit.worker.session.base import Session
from llbkit.worker.session.local import LocalSession
from llbkit.worker.snapshot.layers import LayerStore
from llbkit.worker.snapshot.native import NativeSnapshotter
from llbkit.worker.snapshot.overlay import OverlaySnapshotter
from llbkit.worker.state.cachemounts import CacheMounts
from llbkit.worker.state.directory import StateDir

BUSYBOX = Path("/bin/busybox")
SNAPSHOTTERS: Mapping[str, Callable[[StateDir, LayerStore], Snapshotter]] = {
    "overlay": OverlaySnapshotter,
    "native": NativeSnapshotter,
}


PRELUDE = 'fails() { if eval "$1"; then echo "did not fail: $1" >&2; exit 99; fi; }\n'
"""``fails 'command'`` in scripts; with ``sh -e`` a ``! command`` that succeeds would go unnoticed."""


class Step:
    """A `llbkit.solver.ports.Step` that keeps the output."""

    name = "a step"
    metadata = Metadata()

    def __init__(self, on_output: Callable[[], None] | None = None) -> None:
        self.output: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
        self.pieces: list[tuple[int, bytes]] = []
        self._on_output = on_output

    def log(self, stream: int, data: bytes) -> None:
        self.output[stream] += data
        self.pieces.append((stream, data))
        if self._on_output is not None:
            self._on_output()

    def status(self, id: str, name: str, current: int, total: int, *, done: bool = False) -> None:  # noqa: A002
        """Sub-progress is of no interest here."""


class Bench:
    """Executes ops on one snapshotter with one runtime, and looks at what they leave."""

    def __init__(self, folder: Path, verdicts: Path, snapshotter: str, runtime: str) -> None:
        self.runtime = runtime
        self.state = StateDir(folder / "state")
        self.layers = LayerStore(self.state, ContentStore(self.state))
        self.snapshotter = SNAPSHOTTERS[snapshotter](self.state, self.layers)
        self.pools = Pools({"disk": 2, "cpu": 1, "net": 1, "exec": 4}, private_mounts=True)
        self.containers = Containers(
            self.state.run / "containers", verdicts / f"{runtime}.json", wanted=runtime
        )
        self.caches = CacheMounts(self.state.caches)
        self.base = self.snapshot(busybox_root)

    def close(self) -> None:
        self.pools.run_sync("disk", lambda _: self.containers.close())
        self.pools.close()
        self.state.close()

    def snapshot(self, fill: Callable[[Path], None], base: Snapshot = SCRATCH) -> Snapshot:
        """Return what ``fill(root)`` makes of ``base``."""

        def work(_: object) -> Snapshot:
            with self.snapshotter.prepare(base) as active:
                fill(active.path)
                return active.commit()

        return self.pools.run_sync("disk", work)

    def inside(self, snapshot: Snapshot, look: Callable[[Path], object]) -> object:
        """Return ``look(path)`` of the shown snapshot."""

        def work(_: object) -> object:
            with self.snapshotter.view(snapshot) as path:
                return look(path)

        return self.pools.run_sync("disk", work)

    def text(self, snapshot: Snapshot, path: str) -> str:
        return str(self.inside(snapshot, lambda root: (root / path).read_text()))

    def top(self, snapshot: Snapshot) -> set[str]:
        """Return the paths in the topmost layer: what the last step changed."""
        base = self.layers.path(snapshot.layers[-1])
        return {str(path.relative_to(base)) for path in base.rglob("*")}

    def operation(
        self, op: ops.Exec, count: int, session: Session, resources: LinuxResources | None
    ) -> ExecOperation:
        below = Vertex(op=ops.Source(identifier="docker-image://x"), inputs=(), digest="x", raw=b"")
        vertex = Vertex(op=op, inputs=(Edge(below),) * count, digest="d", raw=b"")
        parts = ExecParts(
            pools=self.pools,
            snapshotter=self.snapshotter,
            ensure=self.layers.ensure,
            containers=lambda: self.containers,
            caches=lambda: self.caches,
            digest=lambda value, paths, cancel: ContentKey(digest="sha256:" + "0" * 64, ingredients={}),
            token=repr,
        )
        return ExecOperation(vertex, Metadata(linux_resources=resources), session, parts)

    async def start(
        self,
        script: str,
        *mounts: ops.Mount,
        inputs: tuple[object, ...] = (),
        base: Snapshot | None = None,
        session: Session | None = None,
        step: Step | None = None,
        resources: LinuxResources | None = None,
        args: tuple[str, ...] = (),
        root: Mapping[str, object] | None = None,
        meta: Mapping[str, object] | None = None,
        **fields: object,
    ) -> list[Snapshot]:
        """Execute a shell script (or ``args``) on ``base``; ``inputs`` are number 1 and up for the mounts."""
        made = ops.Meta(
            **{  # type: ignore[arg-type]
                "args": args or ("/bin/sh", "-ec", PRELUDE + script),
                "cwd": "/",
                "remove_mount_stubs_recursive": True,
                **(meta or {}),
            }
        )
        rootfs = ops.Mount(**{"dest": "/", "input": 0, "output": 0, **(root or {})})  # type: ignore[arg-type]
        op = ops.Exec(meta=made, mounts=(rootfs, *mounts), **fields)  # type: ignore[arg-type]
        values = (self.base if base is None else base, *inputs)
        operation = self.operation(op, len(values), session or LocalSession(id="test"), resources)
        await operation.cache_map(step or Step())  # type: ignore[arg-type]
        return list(await operation.execute(values, step or Step()))  # type: ignore[arg-type]

    def run(self, script: str = "", *mounts: ops.Mount, **arguments: object) -> list[Snapshot]:
        return asyncio.run(self.start(script, *mounts, **arguments))  # type: ignore[arg-type]

    def output(self, script: str = "", *mounts: ops.Mount, **arguments: object) -> str:
        """Return what the script prints."""
        step = Step()
        self.run(script, *mounts, step=step, **arguments)
        return step.output[1].decode()

    def leftovers(self) -> list[str]:
        """Return what work directories, runs and cgroups have left behind: nothing, between steps."""
        found = [str(p) for p in self.state.work.iterdir()]
        containers = self.state.run / "containers"
        for token in os.listdir(containers) if containers.exists() else ():
            found += [str(p) for p in Path("/sys/fs/cgroup").glob(f"*/llbkit/{token}-*")]
        for directory in containers.iterdir() if containers.exists() else ():
            for pattern in ("pids/*", "work/state/*/*", "work/[0-9]*"):
                found += self.pools.run_sync(
                    "disk", lambda _, d=directory, p=pattern: [str(x) for x in d.glob(p)]
                )
        return found


def busybox_root(root: Path) -> None:
    """Make a root of busybox and links to it, with /tmp and users."""
    for name in ("bin", "etc", "root", "tmp", "usr"):
        (root / name).mkdir()
    (root / "tmp").chmod(0o1777)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    applets = "sh cat chmod dd env id ip ln ls mkdir mknod mount mv nc ping rm sleep stat touch true wc"
    for name in applets.split():
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nann:x:1000:1001::/home/ann:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nwheel:x:10:root,ann\nann:x:1001:\nstaff:x:50:ann\n")


@pytest.fixture(scope="session")
def benches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Bench]]:
    """Return a function from the names of a snapshotter and a runtime to their bench."""
    made: dict[tuple[str, str], Bench] = {}
    in_memory = Path("/dev/shm")
    place = tempfile.mkdtemp(
        dir=in_memory if os.access(in_memory, os.W_OK) else tmp_path_factory.getbasetemp()
    )

    def get(snapshotter: str, runtime: str) -> Bench:
        if shutil.which(runtime) is None:
            pytest.skip(f"{runtime} is not installed")
        key = (snapshotter, runtime)
        if key not in made:
            made[key] = Bench(Path(place, "-".join(key)), Path(place), *key)
        return made[key]

    yield get
    for bench in made.values():
        bench.close()
    shutil.rmtree(place)


@pytest.fixture(params=[("overlay", "crun"), ("native", "runc")], ids="-".join)
def bench(request: pytest.FixtureRequest, benches: Callable[[str, str], Bench]) -> Iterator[Bench]:
    """Each snapshotter and each runtime once; a step must leave nothing behind."""
    made = benches(*request.param)
    yield made
    assert made.leftovers() == []


@pytest.fixture(params=["crun", "runc"])
def runner(request: pytest.FixtureRequest, benches: Callable[[str, str], Bench]) -> Iterator[Bench]:
    """Each runtime on overlay mounts, for what has nothing to do with snapshots."""
    made = benches("overlay", request.param)
    yield made
    assert made.leftovers() == []


@pytest.fixture
def helpers() -> SimpleNamespace:
    return SimpleNamespace(Bench=Bench, Step=Step, busybox_root=busybox_root, uid=os.geteuid())
