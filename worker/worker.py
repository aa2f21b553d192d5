# SPDX-License-Identifier: Apache-2.0
"""The worker put together: a `llbkit.solver.ports.Worker` on one state directory.

Parts are made when they are first needed: a fully cached build opens the database and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, assert_never, cast

from llbkit.llb.ir import ops
from llbkit.llb.ir import platform as platforms
from llbkit.llb.ir.graph import Metadata as VertexMetadata
from llbkit.llb.ir.graph import Vertex
from llbkit.llb.ir.ops import Platform
from llbkit.solver.cache.damage import Notice
from llbkit.solver.cache.sqlite import SQLiteStore
from llbkit.solver.ports import ContentKey, Operation, Result
from llbkit.worker.base import (
    CancelToken,
    Snapshot,
    Snapshotter,
    StatusReport,
    WorkerError,
)
from llbkit.worker.content.store import ContentStore
from llbkit.worker.host.pools import Pools, can_mount
from llbkit.worker.oci import Descriptor
from llbkit.worker.ops.exec.nul_bytes import refuse_nul
from llbkit.worker.results import (
    Filesystem,
    FilesystemOperation,
    LeasedOperation,
    Results,
    Views,
    as_snapshot,
    filesystem_of,
)
from llbkit.worker.session.base import Session
from llbkit.worker.snapshot.layers import LayerStore
from llbkit.worker.state.directory import StateDir

if TYPE_CHECKING:
    from llbkit.worker.exporters.base import ExportRequest, ExportTools
    from llbkit.worker.fs.contenthash import ContentHasher
    from llbkit.worker.images import ImageStore
    from llbkit.worker.ops.exec.foreground import Foreground
    from llbkit.worker.ops.exec.op import ExecParts
    from llbkit.worker.ops.source.op import SourceInfo, Sources
    from llbkit.worker.reader import PathInfo, Reader
    from llbkit.worker.registry.push import Pusher
    from llbkit.worker.registry.transport import RegistryOptions, Transport
    from llbkit.worker.remote import BlobOptions, Remote
    from llbkit.worker.runtime.detect import HostFinding
    from llbkit.worker.runtime.process import Containers
    from llbkit.worker.sources.image import ImageResolver, ResolvedImage, ResolveMode
    from llbkit.worker.sources.repositories import Repositories
    from llbkit.worker.sources.statcache import StatCaches
    from llbkit.worker.state.cachemounts import CacheMounts
    from llbkit.worker.state.gc import GarbageCollector
    from llbkit.worker.transfer import ImageTransfer

T = TypeVar("T")


class LocalWorker:
    """Executes vertices on this machine.

    Args:
        root: the state directory.
        parallel: sizes of the thread pools ``exec``, ``disk``, ``net`` and ``cpu``.
        runtime: an OCI runtime's name or path; "" is the fastest that works.
        snapshotter: ``overlay``, or "" for what works.
        registries: options by host.
        notice: receives, in one line each, what of the state directory was damaged and moved aside.

    Raises:
        StorageError: the state directory cannot be used.
    """

    def __init__(
        self,
        root: Path,
        *,
        parallel: Mapping[str, int],
        runtime: str = "",
        snapshotter: str = "",
        registries: Mapping[str, RegistryOptions] | None = None,
        notice: Notice = lambda text: None,
    ) -> None:
        self.state = StateDir(root, notice)
        try:
            self.content = ContentStore(self.state)
            self.layers = LayerStore(self.state, self.content)
            self.layers.fetch = self._fetch
            self._results = Results(self.layers, self.state.lease)
            self.cache_store = SQLiteStore(self.state.cache_db, notice)
        except BaseException:
            self.state.close()
            raise
        self._runtime = runtime
        self._wanted_snapshotter = snapshotter
        self._registries = dict(registries or {})
        self._parallel = dict(parallel)

    def close(self) -> None:
        """Wait for running work and close what is open."""
        if "pools" in self.__dict__:
            if "containers" in self.__dict__:
                self.pools.run_sync("disk", lambda _: self.containers.close())
            self.pools.close()
        self.cache_store.close()
        self.state.close()

    # -- parts

    @cached_property
    def pools(self) -> Pools:
        """The threads that do blocking work."""
        return Pools(self._parallel, private_mounts=can_mount())

    @cached_property
    def snapshotter(self) -> Snapshotter:
        """What shows layers as filesystems."""
        from llbkit.worker.snapshot.choose import choose

        return choose(self.state, self.layers, self._wanted_snapshotter)

    @cached_property
    def containers(self) -> Containers:
        """What runs processes."""
        from llbkit.worker.runtime.process import Containers

        return Containers(
            self.state.run / "containers", self.state.root / "runtime.json", wanted=self._runtime
        )

    @cached_property
    def caches(self) -> CacheMounts:
        """The cache mounts."""
        from llbkit.worker.state.cachemounts import CacheMounts

        return CacheMounts(self.state.caches)

    @cached_property
    def repositories(self) -> Repositories:
        """What was fetched by git."""
        from llbkit.worker.sources.repositories import Repositories

        return Repositories(self.state.root / "git")

    @cached_property
    def images(self) -> ImageStore:
        """The local image store."""
        from llbkit.worker.images import ImageStore

        return ImageStore(self.state.metadata, self.content)

    @cached_property
    def collector(self) -> GarbageCollector:
        """What measures and prunes the state directory."""
        from llbkit.worker.state.gc import GarbageCollector

        return GarbageCollector(
            state=self.state,
            content=self.content,
            layers=self.layers,
            images=self.images,
            caches=self.caches,
            repositories=self.repositories,
            records=self.cache_store,
        )

    @cached_property
    def resolver(self) -> ImageResolver:
        """What finds images."""
        from llbkit.worker.registry.client import RegistryProvider
        from llbkit.worker.sources.image import ImageResolver

        return ImageResolver(
            store=self.content, registry=RegistryProvider(self._transport), images=self.images
        )

    @cached_property
    def _transport(self) -> Transport:
        from llbkit.worker.registry.transport import Transport

        return Transport(self._registries)

    @cached_property
    def sources(self) -> Sources:
        """What brings things in."""
        from llbkit.worker.ops.source.op import Sources
        from llbkit.worker.sources.git import GitSource
        from llbkit.worker.sources.http import HttpSource

        return Sources(
            resolver=self.resolver,
            git=GitSource(self.repositories, self.state.work),
            http=HttpSource(transport=self._transport, store=self.content, database=self.state.metadata),
            local=self._local,
            store=self.content,
            layers=self.layers,
            snapshotter=self.snapshotter,
            pools=self.pools,
        )

    @cached_property
    def _stat_caches(self) -> StatCaches:
        from llbkit.worker.sources.statcache import StatCaches

        folder = self.state.root / "stat"
        folder.mkdir(exist_ok=True)
        return StatCaches(folder)

    @cached_property
    def hasher(self) -> ContentHasher:
        """What digests the content of results."""
        from llbkit.worker.fs.contenthash import ContentHasher, StoredDigests

        return ContentHasher(self.snapshotter, self.ensure, StoredDigests(self.state.metadata))

    @cached_property
    def _reader(self) -> Reader:
        from llbkit.worker.reader import Reader

        return Reader(Views(self.snapshotter, self.ensure))

    @property
    def platforms(self) -> Sequence[Platform]:
        """What this worker runs, its own platform first."""
        return (platforms.default(),)

    @property
    def runtime_name(self) -> str:
        """The OCI runtime in use. Raises EnvironmentLackError if none works here."""
        return self.pools.run_sync("exec", lambda _: self.containers.verdict().choose().name)

    def findings(self) -> list[HostFinding]:
        """Return the report on this host."""
        from llbkit.worker.runtime.detect import check_host

        return self.pools.run_sync("exec", lambda _: check_host(self.state.root / "runtime.json"))

    def ensure(
        self, snapshot: Snapshot, cancel: CancelToken | None = None, report: StatusReport | None = None
    ) -> None:
        """Fetch and unpack the lazy layers of a snapshot. Blocking."""
        self.layers.ensure(snapshot, cancel, report)

    def _fetch(
        self,
        descriptor: Descriptor,
        source: str,
        cancel: CancelToken,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.resolver.fetch(descriptor, source, cancel, progress)

    # -- llbkit.solver.ports.Worker

    def operation(self, vertex: Vertex, metadata: VertexMetadata, session: object) -> Operation:
        """Return the operation of a vertex.

        Raises:
            WorkerError: the op cannot be executed here: it is not supported, or says what no system call can be told.
        """
        refuse_nul(vertex.op)
        brought = cast("Session", session)  # jobs on this worker have one, opaque to the solver
        return LeasedOperation(self._operation(vertex, metadata, brought), self._results)

    def _operation(self, vertex: Vertex, metadata: VertexMetadata, session: Session) -> FilesystemOperation:
        match vertex.op:
            case ops.Exec():
                from llbkit.worker.ops.exec.op import ExecOperation

                return ExecOperation(vertex, metadata, session, self._exec_parts)
            case ops.Source() as op:
                if op.identifier.startswith("local://"):
                    return self._local(op, session)
                return self.sources.operation(op, vertex.platform or self.platforms[0], session)
            case ops.File():
                return self._file(vertex)
            case ops.Merge():
                return self._merge(vertex)
            case ops.Diff():
                return self._diff(vertex)
            case ops.Build():
                raise WorkerError("build ops (definitions produced by another step) are not supported yet")
            case ops.Passthrough() as op:
                from llbkit.worker.ops.passthrough import PassthroughOperation

                return PassthroughOperation(op, len(vertex.inputs))
            case _:
                assert_never(vertex.op)

    def save(self, result: Result) -> str | None:
        """Return the token of a snapshot; a local directory has none."""
        return self._results.save(result)

    def load(self, token: str) -> Result | None:
        """Return the snapshot of a token, or None if it is gone."""
        return self._results.load(token)

    def lease(self) -> AbstractContextManager[None]:
        """Keep what the work in the context makes and looks at from being pruned; see `llbkit.solver.ports.Worker`."""
        return self.state.lease.working()

    # -- what a bridge and an engine ask

    async def resolve_image(
        self, ref: str, platform: Platform, mode: ResolveMode, session: Session, *, oci_store: str = ""
    ) -> ResolvedImage:
        """Return digest and config of an image; images of the local store come first unless ``mode`` is pull."""
        wanted: ResolveMode = "pull" if mode == "pull" else "local"
        return await self.pools.run(
            "net",
            lambda cancel: self.resolver.resolve(
                ref, platform, wanted, cancel, session=session, oci_store=oci_store
            ),
        )

    async def resolve_source(self, identifier: str, attrs: Mapping[str, str], session: Session) -> SourceInfo:
        """Return what is known about a git or HTTP source."""
        return await self.pools.run(
            "net", lambda cancel: self.sources.describe(identifier, attrs, cancel, session=session)
        )

    async def read_file(self, result: Result | None, path: str, *, offset: int = 0, length: int = 0) -> bytes:
        """Return a file of a result. Raises FileNotFoundError, IsADirectoryError."""
        return await self._looking(
            result, lambda value, cancel: self._reader.read_file(value, path, offset, length, cancel)
        )

    async def read_dir(self, result: Result | None, path: str, *, include: str = "") -> list[PathInfo]:
        """Return a directory of a result. Raises FileNotFoundError."""
        return await self._looking(
            result, lambda value, cancel: self._reader.read_dir(value, path, include, cancel)
        )

    async def stat_file(self, result: Result | None, path: str) -> PathInfo:
        """Return one path of a result. Raises FileNotFoundError."""
        return await self._looking(result, lambda value, cancel: self._reader.stat_file(value, path, cancel))

    async def snapshot(self, result: Result | None) -> Snapshot:
        """Return a result, which must be kept for as long as that is used, as a snapshot; None is scratch."""
        return await self._looking(result, lambda value, _: as_snapshot(value))

    async def remote(self, result: Result, options: BlobOptions | None = None) -> Remote | None:
        """Describe a result for elsewhere; None if it has layers without a blob, and ``options`` does not have them compressed.

        What is returned keeps the result until it is released.

        Raises:
            SourceError: a blob that has to be compressed again cannot be fetched or is damaged.
            StorageError: the disk is full.
        """
        from llbkit.worker.remote import BlobOptions, remote_of

        return await self._looking(
            result,
            lambda value, cancel: remote_of(
                result,
                value,
                options or BlobOptions(),
                layers=self.layers,
                content=self.content,
                fetch=self._fetch,
                cancel=cancel,
            ),
        )

    async def _looking(self, result: Result | None, look: Callable[[Filesystem, CancelToken], T]) -> T:
        value = filesystem_of(result)
        with self.lease():
            return await self.pools.run("disk", lambda cancel: look(value, cancel))

    async def export(self, kind: str, request: ExportRequest, report: StatusReport) -> dict[str, str]:
        """Export results; see `llbkit.worker.exporters.export`."""
        from llbkit.worker.exporters.export import export

        return await self.pools.run(
            "disk", lambda cancel: export(kind, request, self._export_tools, cancel=cancel, report=report)
        )

    @cached_property
    def transfer(self) -> ImageTransfer:
        """What moves whole images."""
        from llbkit.worker.transfer import ImageTransfer

        return ImageTransfer(
            store=self.content,
            images=self.images,
            resolver=self.resolver,
            pusher=self._pusher,
            scratch=self.state.work,
        )

    @cached_property
    def _pusher(self) -> Pusher:
        from llbkit.worker.registry.push import Pusher

        return Pusher(self._transport, self.content)

    @cached_property
    def _export_tools(self) -> ExportTools:
        from llbkit.worker.exporters.base import ExportTools

        return ExportTools(
            store=self.content,
            layers=self.layers,
            snapshotter=self.snapshotter,
            images=self.images,
            pusher=self._pusher,
            fetch=self._fetch,
        )

    async def run_attached(
        self, process: Foreground, snapshot: Snapshot, session: Session, platform: Platform
    ) -> int:
        """Run a process on a snapshot, attached to the caller's streams; return its exit code.

        Raises:
            WorkerError: it cannot be started.
        """
        from llbkit.worker.base import ExecError
        from llbkit.worker.ops.exec import platform as exec_platform

        exec_platform.require_linux(platform)
        parts = self._exec_parts
        parts.containers(), parts.caches()
        ended = await self.pools.run("exec", lambda cancel: process.run(snapshot, session, parts, cancel))
        if not ended.started:
            if "format error" in ended.reason.lower():
                exec_platform.require_emulator(platform)
            raise ExecError(f"cannot start {process.meta.args[0]}: {ended.reason}", exit_code=ended.code)
        return ended.code

    @contextmanager
    def agents(self, wanted: Mapping[str, Sequence[str]]) -> Iterator[Mapping[str, Path]]:
        """Give every ``--ssh`` a socket; key files are served by an agent of their own while the context lasts."""
        from llbkit.worker.host.agents import serve

        with serve(wanted, self.state.tmp) as sockets:
            yield sockets

    # -- operations

    @cached_property
    def _exec_parts(self) -> ExecParts:
        from llbkit.worker.fs.select.selection import Selection
        from llbkit.worker.ops.exec.op import ExecParts

        def digest(value: Filesystem, paths: tuple[str, ...], cancel: CancelToken) -> ContentKey:
            return self.hasher.key(value, [Selection(src=path, follow=True) for path in paths], cancel)

        return ExecParts(
            pools=self.pools,
            snapshotter=self.snapshotter,
            ensure=self.ensure,
            containers=lambda: self.containers,
            caches=lambda: self.caches,
            digest=digest,
            token=lambda value: self._results.token(value) or "",
        )

    def _local(self, op: ops.Source, session: Session) -> FilesystemOperation:
        from llbkit.worker.ops.source.local import LocalOperation

        return LocalOperation(
            op,
            session,
            caches=self._stat_caches,
            hold=self.state.lease.hold_layers,
            snapshotter=self.snapshotter,
            pools=self.pools,
        )

    def _file(self, vertex: Vertex) -> FilesystemOperation:
        from llbkit.worker.ops.file.op import FileOperation

        return FileOperation(
            vertex, snapshotter=self.snapshotter, ensure=self.ensure, hasher=self.hasher, pools=self.pools
        )

    def _merge(self, vertex: Vertex) -> FilesystemOperation:
        from llbkit.worker.ops.merge import MergeOperation

        return MergeOperation(vertex, hasher=self.hasher, pools=self.pools)

    def _diff(self, vertex: Vertex) -> FilesystemOperation:
        from llbkit.worker.ops.diff import DiffOperation

        return DiffOperation(
            vertex, snapshotter=self.snapshotter, ensure=self.ensure, hasher=self.hasher, pools=self.pools
        )
