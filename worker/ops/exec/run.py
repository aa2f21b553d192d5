# SPDX-License-Identifier: Apache-2.0
"""Executing an exec: mounts, a sandbox, a process, and one layer for each result."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from llbkit.llb.ir.graph import Metadata
from llbkit.llb.ir.ops import Exec, ProxyEnv, SecurityMode
from llbkit.records import dataclass
from llbkit.worker.base import SCRATCH, ExecError, Snapshotter, WorkerError
from llbkit.worker.fs import rootpath
from llbkit.worker.host.pools import Token
from llbkit.worker.ops.exec.inputs import Inputs
from llbkit.worker.ops.exec.mounts import Mounted, Mounting, placing, secret_value
from llbkit.worker.ops.exec.stubs import Stubs
from llbkit.worker.results import Ensure, Filesystem
from llbkit.worker.runtime.process import Containers, Exit, Log
from llbkit.worker.runtime.spec import DEFAULT_HOSTNAME, DEFAULT_PATH, Sandbox
from llbkit.worker.runtime.users import User, lookup
from llbkit.worker.session.base import Session
from llbkit.worker.state.cachemounts import CacheMounts

_TAIL = 16 << 10


class Reports(Protocol):
    """What is used of a `llbkit.solver.ports.Step`."""

    @property
    def name(self) -> str:
        """What users see as the step's name."""

    def log(self, stream: int, data: bytes) -> None:
        """Report process output."""

    def status(self, id: str, name: str, current: int, total: int, *, done: bool = False) -> None:  # noqa: A002
        """Report sub-progress."""


class OutputTail:
    """Hands on a process's output and keeps the end of it, for the error if the process fails."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._pieces: deque[bytes] = deque()
        self._size = 0

    def log(self, stream: int, data: bytes) -> None:
        """Take in a piece of output."""
        self._log(stream, data)
        self._pieces.append(data)
        self._size += len(data)
        while self._size - len(self._pieces[0]) >= _TAIL:
            self._size -= len(self._pieces.popleft())

    @property
    def output(self) -> bytes:
        """The last bytes of standard output and error together, at most 16 KiB."""
        return b"".join(self._pieces)[-_TAIL:]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A process that is ready to start: its mounts, the mount points made for them, its sandbox, its directory in memory."""

    mounted: Mounted
    stubs: Stubs
    sandbox: Sandbox
    work: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecRun:
    """One execution of an exec. For the fields see `llbkit.worker.ops.exec.op.ExecParts`."""

    op: Exec
    metadata: Metadata
    session: Session
    snapshotter: Snapshotter
    ensure: Ensure
    containers: Containers
    caches: CacheMounts
    token: Callable[[Filesystem], str]
    step: Reports

    def run(self, values: Sequence[Filesystem], cancel: Token) -> Sequence[Filesystem]:
        """Run the process on a thread of the pools. See `llbkit.worker.ops.exec.op.ExecOperation.execute`."""
        tail = OutputTail(self.step.log)
        with self.prepared(values, cancel) as prepared:
            try:
                ended = self.containers.run(
                    prepared.sandbox,
                    tail.log,
                    cancel,
                    work=prepared.work,
                    cgroup_parent=self.op.meta.cgroup_parent,
                )
            finally:
                prepared.stubs.remove()
            cancel.check()
            valid = self.op.meta.valid_exit_codes or (0,)
            if not ended.started or ended.code not in valid:
                raise self._failed(ended, tail.output)
            return self._commit(prepared.mounted, values, self.step.name)

    @contextmanager
    def prepared(self, values: Sequence[Filesystem], cancel: Token) -> Iterator[Prepared]:
        """Mount everything that the process sees; leaving the context unmounts it and throws away what is not committed."""
        step = self.step

        def report(id_: str, name: str, current: int, total: int, done: bool) -> None:
            step.status(id_, name, current, total, done=done)

        with ExitStack() as stack:
            work = stack.enter_context(self.containers.work())
            inputs = Inputs(self.snapshotter, self.ensure, stack, cancel=cancel, report=report)
            mounting = Mounting(self.op, inputs, self.session, self.caches, stack, work, cancel, self.token)
            mounted, stubs = mounting.mount(values)
            try:
                yield Prepared(mounted, stubs, self._sandbox(mounted, self.op), work)
            finally:
                stubs.remove()

    def _sandbox(self, mounted: Mounted, op: Exec) -> Sandbox:
        meta = op.meta
        user = lookup(mounted.root, meta.user)
        cwd = "/" + meta.cwd.lstrip("/")
        with placing(f"create the working directory {cwd}"):
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
            env[secret.name] = _as_text(secret.id, value or b"")
        for name, default in (("PATH", DEFAULT_PATH), ("HOME", user.home or "/")):
            env.setdefault(name, default)
        return tuple(f"{name}={value}" for name, value in env.items())

    def _failed(self, ended: Exit, output: bytes) -> ExecError:
        command = " ".join(self.op.meta.args)
        reason = f": {ended.reason}" if ended.reason else ""
        return ExecError(
            f'process "{command}" did not complete successfully: exit code: {ended.code}{reason}',
            exit_code=ended.code,
            output=output,
        )

    def _commit(self, mounted: Mounted, values: Sequence[Filesystem], name: str) -> Sequence[Filesystem]:
        count = max((mount.output for mount in self.op.mounts), default=-1) + 1
        results: list[Filesystem] = []
        for index in range(count):
            active = mounted.outputs.get(index)
            results.append(active.commit(name) if active is not None else self._unchanged(index, values))
        return results

    def _unchanged(self, index: int, values: Sequence[Filesystem]) -> Filesystem:
        """Return the source of an output mount that could not be written to."""
        mount = next(mount for mount in self.op.mounts if mount.output == index)
        return values[mount.input] if mount.input >= 0 else SCRATCH


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
            f"secret {name} cannot be used as an environment variable: not valid text",
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
