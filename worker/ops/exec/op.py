# SPDX-License-Identifier: Apache-2.0
"""The operation of exec ops: its key. Execution is imported on demand (`llbkit.worker.ops.exec.run`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from llbkit.llb.ir import platform as platforms
from llbkit.llb.ir.graph import Metadata, Vertex
from llbkit.llb.ir.ops import Exec, NetMode, Platform, SecurityMode
from llbkit.records import dataclass
from llbkit.solver.ports import CacheMap, ContentKey, Step
from llbkit.worker.base import CancelToken, ExecError, Snapshotter, WorkerError
from llbkit.worker.host.pools import Pools
from llbkit.worker.ops.exec import key as exec_key
from llbkit.worker.ops.exec import platform as exec_platform
from llbkit.worker.results import Ensure, Filesystem
from llbkit.worker.session.base import Session

if TYPE_CHECKING:
    from llbkit.worker.runtime.process import Containers
    from llbkit.worker.state.cachemounts import CacheMounts


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecParts:
    """What executing needs of the worker.

    ``ensure`` unpacks lazy layers; ``digest`` returns the content key of selected paths of a filesystem; ``token`` names
    one, for cache mounts that start from one. ``containers`` and ``caches`` are asked for on the event loop's thread, when
    the first process is to be run.
    """

    pools: Pools
    snapshotter: Snapshotter
    ensure: Ensure
    containers: Callable[[], Containers]
    caches: Callable[[], CacheMounts]
    digest: Callable[[Filesystem, tuple[str, ...], CancelToken], ContentKey]
    token: Callable[[Filesystem], str]


class ExecOperation:
    """A `llbkit.worker.results.FilesystemOperation` that runs a process."""

    resources: Mapping[str, int] = {"exec": 1}

    def __init__(self, vertex: Vertex, metadata: Metadata, session: Session, parts: ExecParts) -> None:
        assert isinstance(vertex.op, Exec), "made for exec ops"
        self._vertex = vertex
        self._op = vertex.op
        self._metadata = metadata
        self._session = session
        self._parts = parts
        self._platform: Platform = vertex.platform or platforms.default()

    async def cache_map(self, step: Step) -> CacheMap:
        """Return the op's own key.

        Raises:
            WorkerError: the build does not allow what the step asks for. What is cached is no way round that.
        """
        self._check_rights()
        return exec_key.cache_map(self._vertex, self._op, self._platform)

    async def content_key(self, index: int, value: Filesystem, step: Step) -> ContentKey | None:
        """Return what the process sees of an input."""
        paths = exec_key.selectors(self._op, index) or ("/",)
        return await self._parts.pools.run("disk", lambda cancel: self._parts.digest(value, paths, cancel))

    async def execute(self, inputs: Sequence[Filesystem], step: Step) -> Sequence[Filesystem]:
        """Run the process and return one snapshot for each output mount.

        Raises:
            ExecError: the process failed.
            WorkerError: a mount, user, secret, permission or emulator is missing.
        """
        self._check_devices()
        exec_platform.require_linux(self._platform)
        from llbkit.worker.ops.exec.run import ExecRun

        run = ExecRun(
            op=self._op,
            metadata=self._metadata,
            session=self._session,
            snapshotter=self._parts.snapshotter,
            ensure=self._parts.ensure,
            containers=self._parts.containers(),
            caches=self._parts.caches(),
            token=self._parts.token,
            step=step,
        )
        try:
            return await self._parts.pools.run("exec", lambda cancel: run.run(inputs, cancel))
        except ExecError as error:
            if b"exec format error" in error.output.lower():
                exec_platform.require_emulator(self._platform)
            raise

    def _check_rights(self) -> None:
        wanted = []
        if self._op.network is NetMode.HOST:
            wanted.append("network.host")
        if self._op.security is SecurityMode.INSECURE:
            wanted.append("security.insecure")
        for right in wanted:
            if right not in self._session.entitlements:
                raise WorkerError(f"requires entitlement {right}", help=f"allow it with --allow {right}")

    def _check_devices(self) -> None:
        for device in self._op.cdi_devices:
            if not device.optional:
                raise WorkerError(f"device {device.name} requested, but devices are not supported yet")
