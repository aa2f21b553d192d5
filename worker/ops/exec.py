# SPDX-License-Identifier: Apache-2.0
"""Executing an exec: mounts, a sandbox, a process, and one layer for each result."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from llb import platform as platforms
from llb.graph import Metadata, Vertex
from llb.ops import Exec, NetMode, Platform, ProxyEnv, SecurityMode
from solver.ports import CacheMap, ContentKey, Result, Step
from worker.base import CancelToken, ExecError, Session, Snapshot, Snapshotter, WorkerError
from worker.cachemounts import CacheMounts
from worker.ops import exec_key, exec_platform
from worker.ops.exec_inputs import Ensure, Inputs
from worker.ops.exec_mounts import Mounted, Mounting, secret_value
from worker.pools import Pools, Token
from worker.runtime import rootpath
from worker.runtime.process import Containers
from worker.runtime.spec import DEFAULT_HOSTNAME, DEFAULT_PATH, Sandbox
from worker.runtime.users import User, lookup


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecParts:
    """What executing needs of the worker.

    ``ensure`` unpacks lazy layers; ``digest`` returns the content key of selected paths of a result; ``token`` names a
    result, for cache mounts that start from one.
    """

    pools: Pools
    snapshotter: Snapshotter
    ensure: Ensure
    containers: Containers
    caches: CacheMounts
    digest: Callable[[Result, tuple[str, ...], CancelToken], ContentKey]
    token: Callable[[Result], str]


class ExecOperation:
    """A `solver.ports.Operation` that runs a process."""

    resources: Mapping[str, int] = {"exec": 1}

    def __init__(self, vertex: Vertex, metadata: Metadata, session: Session, parts: ExecParts) -> None:
        assert isinstance(vertex.op, Exec), "made for an exec"
        self._vertex = vertex
        self._op = vertex.op
        self._metadata = metadata
        self._session = session
        self._parts = parts
        self._platform: Platform = vertex.platform or platforms.default()

    async def cache_map(self, step: Step) -> CacheMap:
        """Return the op's own key."""
        return exec_key.cache_map(self._vertex, self._op, self._platform)

    async def content_key(self, index: int, value: Result, step: Step) -> ContentKey | None:
        """Return what the process sees of an input."""
        paths = exec_key.selectors(self._op, index) or ("/",)
        return await self._parts.pools.run("disk", lambda cancel: self._parts.digest(value, paths, cancel))

    async def execute(self, inputs: Sequence[Result], step: Step) -> Sequence[Result]:
        """Run the process and return one snapshot for each output mount.

        Raises:
            ExecError: the process failed.
            WorkerError: a mount, user, secret or permission is missing.
        """
        self._check_rights()
        exec_platform.require(self._platform)
        return await self._parts.pools.run("exec", lambda cancel: self._run(list(inputs), step, cancel))

    def _check_rights(self) -> None:
        wanted = []
        if self._op.network is NetMode.HOST:
            wanted.append("network.host")
        if self._op.security is SecurityMode.INSECURE:
            wanted.append("security.insecure")
        for right in wanted:
            if right not in self._session.entitlements:
                raise WorkerError(f"the step needs the right {right}", help=f"allow it with --allow {right}")
        for device in self._op.cdi_devices:
            if not device.optional:
                raise WorkerError(f"the step needs the device {device.name}; devices are not supported yet")

    def _run(self, values: list[object], step: Step, cancel: Token) -> Sequence[Result]:
        def report(id_: str, name: str, current: int, total: int, done: bool) -> None:
            step.status(id_, name, current, total, done=done)

        parts = self._parts
        with ExitStack() as stack:
            work = stack.enter_context(parts.containers.work())
            inputs = Inputs(parts.snapshotter, parts.ensure, stack, cancel=cancel, report=report)
            mounting = Mounting(
                self._op, inputs, self._session, parts.caches, stack, work, cancel, parts.token
            )
            mounted, stubs = mounting.mount(values)
            try:
                sandbox = self._sandbox(mounted, self._op)
                ended = parts.containers.run(
                    sandbox, step.log, cancel, work=work, cgroup_parent=self._op.meta.cgroup_parent
                )
            finally:
                stubs.remove()
            cancel.check()
            valid = self._op.meta.valid_exit_codes or (0,)
            if ended.code not in valid:
                raise self._failed(ended.code, ended.reason)
            return self._commit(mounted, values, step.name)

    def _sandbox(self, mounted: Mounted, op: Exec) -> Sandbox:
        meta = op.meta
        user = lookup(mounted.root, meta.user)
        cwd = meta.cwd or "/"
        rootpath.make_directories(mounted.root, cwd, uid=user.uid, gid=user.gid)
        return Sandbox(
            root=mounted.root,
            args=meta.args,
            env=self._environment(user),
            cwd=cwd,
            user=user,
            hostname=meta.hostname or DEFAULT_HOSTNAME,
            readonly_root=mounted.readonly_root,
            mounts=tuple(mounted.specs),
            network=op.network,
            insecure=op.security is SecurityMode.INSECURE,
            ulimits=meta.ulimit,
            resources=self._metadata.linux_resources,
        )

    def _environment(self, user: User) -> tuple[str, ...]:
        env = list(self._op.meta.env)
        for secret in self._op.secret_env:
            value = secret_value(self._session, secret.id, optional=secret.optional)
            if value is not None:
                env.append(f"{secret.name}={os.fsdecode(value)}")
        env += _proxy(self._op.meta.proxy_env)
        names = {item.partition("=")[0] for item in env}
        if "PATH" not in names:
            env.append(f"PATH={DEFAULT_PATH}")
        if "HOME" not in names:
            env.append(f"HOME={user.home or '/'}")
        return tuple(env)

    def _failed(self, code: int, reason: str) -> ExecError:
        command = " ".join(self._op.meta.args)
        message = f'process "{command}" did not complete successfully: exit code: {code}'
        return ExecError(message + (f": {reason}" if reason else ""), exit_code=code)

    def _commit(self, mounted: Mounted, values: list[object], name: str) -> Sequence[Result]:
        count = max((mount.output for mount in self._op.mounts), default=-1) + 1
        results: list[Result] = []
        for index in range(count):
            active = mounted.outputs.get(index)
            results.append(active.commit(name) if active is not None else self._unchanged(index, values))
        return results

    def _unchanged(self, index: int, values: list[object]) -> Result:
        """Return the source of an output mount that could not be written to."""
        mount = next(mount for mount in self._op.mounts if mount.output == index)
        return values[mount.input] if mount.input >= 0 else Snapshot()


def _proxy(proxy: ProxyEnv | None) -> list[str]:
    if proxy is None:
        return []
    values = {
        "HTTP_PROXY": proxy.http_proxy,
        "HTTPS_PROXY": proxy.https_proxy,
        "FTP_PROXY": proxy.ftp_proxy,
        "NO_PROXY": proxy.no_proxy,
        "ALL_PROXY": proxy.all_proxy,
    }
    return [f"{key}={value}" for name, value in values.items() if value for key in (name, name.lower())]
