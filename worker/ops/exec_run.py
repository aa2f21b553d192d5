# SPDX-License-Identifier: Apache-2.0
"""Executing an exec: mounts, a sandbox, a process, and one layer for each result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from llb.graph import Metadata
from llb.ops import Exec, ProxyEnv, SecurityMode
from solver.ports import Result, Step
from worker import rootpath
from worker.base import ExecError, Session, Snapshot, Snapshotter, WorkerError
from worker.cachemounts import CacheMounts
from worker.ops.exec_inputs import Ensure, Inputs
from worker.ops.exec_mounts import Mounted, Mounting, placing, secret_value
from worker.pools import Token
from worker.runtime.process import Containers
from worker.runtime.spec import DEFAULT_HOSTNAME, DEFAULT_PATH, Sandbox
from worker.runtime.users import User, lookup


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecRun:
    """One execution of an exec. For the fields see `worker.ops.exec.ExecParts`."""

    op: Exec
    metadata: Metadata
    session: Session
    snapshotter: Snapshotter
    ensure: Ensure
    containers: Containers
    caches: CacheMounts
    token: Callable[[Result], str]
    step: Step

    def run(self, values: list[object], cancel: Token) -> Sequence[Result]:
        """Run the process on a thread of the pools. See `worker.ops.exec.ExecOperation.execute`."""
        step = self.step

        def report(id_: str, name: str, current: int, total: int, done: bool) -> None:
            step.status(id_, name, current, total, done=done)

        with ExitStack() as stack:
            work = stack.enter_context(self.containers.work())
            inputs = Inputs(self.snapshotter, self.ensure, stack, cancel=cancel, report=report)
            mounting = Mounting(self.op, inputs, self.session, self.caches, stack, work, cancel, self.token)
            mounted, stubs = mounting.mount(values)
            try:
                sandbox = self._sandbox(mounted, self.op)
                ended = self.containers.run(
                    sandbox, step.log, cancel, work=work, cgroup_parent=self.op.meta.cgroup_parent
                )
            finally:
                stubs.remove()
            cancel.check()
            valid = self.op.meta.valid_exit_codes or (0,)
            if not ended.started or ended.code not in valid:
                raise self._failed(ended.code, ended.reason)
            return self._commit(mounted, values, step.name)

    def _sandbox(self, mounted: Mounted, op: Exec) -> Sandbox:
        meta = op.meta
        user = lookup(mounted.root, meta.user)
        cwd = "/" + meta.cwd.lstrip("/")
        with placing(f"make the working directory {cwd}"):
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
            resources=self.metadata.linux_resources,
        )

    def _environment(self, user: User) -> tuple[str, ...]:
        """Return what the process's environment holds; of two values for a name the last counts."""
        env = dict(_variable(item) for item in self.op.meta.env if "=" in item)
        env |= _proxy(self.op.meta.proxy_env)
        for secret in self.op.secret_env:
            value = secret_value(self.session, secret.id, optional=secret.optional)
            if value is not None:
                env[secret.name] = _as_text(secret.id, value)
        for name, default in (("PATH", DEFAULT_PATH), ("HOME", user.home or "/")):
            env.setdefault(name, default)
        return tuple(f"{name}={value}" for name, value in env.items())

    def _failed(self, code: int, reason: str) -> ExecError:
        command = " ".join(self.op.meta.args)
        message = f'process "{command}" did not complete successfully: exit code: {code}'
        return ExecError(message + (f": {reason}" if reason else ""), exit_code=code)

    def _commit(self, mounted: Mounted, values: list[object], name: str) -> Sequence[Result]:
        count = max((mount.output for mount in self.op.mounts), default=-1) + 1
        results: list[Result] = []
        for index in range(count):
            active = mounted.outputs.get(index)
            results.append(active.commit(name) if active is not None else self._unchanged(index, values))
        return results

    def _unchanged(self, index: int, values: list[object]) -> Result:
        """Return the source of an output mount that could not be written to."""
        mount = next(mount for mount in self.op.mounts if mount.output == index)
        return values[mount.input] if mount.input >= 0 else Snapshot()


def _variable(item: str) -> tuple[str, str]:
    name, _, value = item.partition("=")
    return name, value


def _as_text(name: str, value: bytes) -> str:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise WorkerError(
            f"the secret {name} cannot be an environment variable: it is not text",
            help="mount it as a file, without env=",
        )
    return text


def _proxy(proxy: ProxyEnv | None) -> dict[str, str]:
    if proxy is None:
        return {}
    values = {
        "HTTP_PROXY": proxy.http_proxy,
        "HTTPS_PROXY": proxy.https_proxy,
        "FTP_PROXY": proxy.ftp_proxy,
        "NO_PROXY": proxy.no_proxy,
        "ALL_PROXY": proxy.all_proxy,
    }
    return {key: value for name, value in values.items() if value for key in (name, name.lower())}
