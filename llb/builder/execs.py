# SPDX-License-Identifier: Apache-2.0
"""The step that runs a process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llbkit.llb.builder.mounts import AnyMount, MountSpec, SecretSpec, SSHSpec
from llbkit.llb.builder.nodes import Base, EdgeList, Output, VertexSpec, unique_outputs
from llbkit.llb.builder.options import Constraints
from llbkit.llb.builder.settings import LazySettings, Settings
from llbkit.llb.errors import StateError
from llbkit.llb.ir import ops
from llbkit.llb.ir.fields import caps_of
from llbkit.llb.ir.graph import Edge
from llbkit.llb.ir.ops import Platform
from llbkit.records import dataclass

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExecNode:
    """A process: its ``settings``, ``mounts`` all of its mounts with the root first."""

    args: tuple[str, ...]
    settings: LazySettings
    mounts: tuple[AnyMount, ...]
    constraints: Constraints
    proxy: ops.ProxyEnv | None = None
    valid_exit_codes: tuple[int, ...] = ()
    devices: tuple[ops.CDIDevice, ...] = ()

    @property
    def fixed_platform(self) -> Platform | None:
        """The platform it was given."""
        return self.constraints.platform

    def binds(self) -> list[MountSpec]:
        """Return the filesystem mounts in the order that numbers inputs and outputs: by target."""
        binds = [mount for mount in self.mounts if isinstance(mount, MountSpec)]
        return sorted(binds, key=lambda mount: mount.target) if len(binds) > 1 else binds

    def reads(self, base: Base) -> Sequence[Output]:
        """Return the sources of the mounts."""
        sources = [mount.source.output for mount in self.binds() if mount.source is not None]
        return unique_outputs([output for output in sources if output is not None])

    def index_of(self, slot: int | str) -> int:
        """Return the output index of the mount at target ``slot``.

        Raises:
            StateError: nothing is mounted there, or its changes are thrown away.
        """
        index = 0
        for mount in self.binds():
            if mount.target == slot:
                if mount.tmpfs is not None:
                    raise StateError(f"tmpfs mount for {slot} can't be used as a parent")
                if not mount.is_output:
                    raise StateError(f"mount marked no-output and {slot} can't be used as a parent")
                return index
            index += mount.is_output
        raise StateError(f"nothing is mounted at {slot}")

    def make(self, base: Base, edge: Callable[[Output], Edge]) -> VertexSpec:
        """Return the exec op for a platform."""
        platform = self.constraints.platform or self.settings.at(base.platform).platform or base.platform
        settings = self.settings.at(platform)
        if not self.args:
            raise StateError("arguments are required")
        caps = {"exec.meta.base"}
        meta = self._meta(settings, base, caps)
        inputs = EdgeList(edge)
        mounts = self._binds(inputs, caps) + self._secrets() + self._agents()
        variables = [
            ops.SecretEnv(id=m.id, name=m.env, optional=m.optional)
            for m in self.mounts
            if isinstance(m, SecretSpec) and m.env is not None
        ]
        if variables:
            caps.add("exec.mount.secret")
        if self.constraints.metadata.linux_resources is not None:
            caps.add("exec.meta.linux.resources")
        op = ops.Exec(
            meta=meta,
            mounts=tuple(mounts),
            network=settings.network,
            security=settings.security,
            secret_env=tuple(variables),
            cdi_devices=self.devices,
        )
        caps.update(caps_of(op))
        return VertexSpec(op=op, inputs=tuple(inputs.edges), caps=tuple(caps), platform=platform)

    def _meta(self, settings: Settings, base: Base, caps: set[str]) -> ops.Meta:
        agents = self._agent_targets()
        if agents and not any(key == "SSH_AUTH_SOCK" for key, _ in settings.env):
            settings = settings.with_env("SSH_AUTH_SOCK", agents[0])
        if base.caps is not None:
            if "exec.meta.setsdefaultpath" in base.caps:
                caps.add("exec.meta.setsdefaultpath")
            elif base.platform.os != "windows" and not any(key == "PATH" for key, _ in settings.env):
                # As in BuildKit, the graph's platform decides, not the step's own.
                settings = settings.with_env("PATH", DEFAULT_PATH)
        return ops.Meta(
            args=self.args,
            env=tuple(f"{key}={value}" for key, value in settings.env),
            cwd=settings.dir,
            user=settings.user,
            proxy_env=self.proxy,
            extra_hosts=settings.extra_hosts,
            hostname=settings.hostname,
            ulimit=settings.ulimit,
            cgroup_parent=settings.cgroup_parent,
            remove_mount_stubs_recursive=True,
            valid_exit_codes=self.valid_exit_codes,
        )

    def _binds(self, inputs: EdgeList, caps: set[str]) -> list[ops.Mount]:
        out = []
        index = 0
        for mount in self.binds():
            output = mount.source.output if mount.source is not None else None
            if mount.tmpfs is not None and output is not None:
                raise StateError("tmpfs mounts must use scratch")
            kind = ops.MountType.BIND
            if mount.cache is not None:
                kind = ops.MountType.CACHE
            elif mount.tmpfs is not None:
                kind = ops.MountType.TMPFS
            elif output is not None:
                caps.add("exec.mount.bind")
            out.append(
                ops.Mount(
                    dest=mount.target,
                    input=inputs.add(output) if output is not None else -1,
                    selector=mount.selector,
                    output=index if mount.is_output else -1,
                    readonly=mount.readonly,
                    mount_type=kind,
                    tmpfs=mount.tmpfs,
                    cache=mount.cache,
                    content_cache=mount.content_cache,
                )
            )
            index += mount.is_output
        return out

    def _secrets(self) -> list[ops.Mount]:
        out = []
        for spec in self.mounts:
            if not isinstance(spec, SecretSpec):
                continue
            if spec.target:
                opt = ops.SecretOpt(
                    id=spec.id, uid=spec.uid, gid=spec.gid, mode=spec.mode, optional=spec.optional
                )
                out.append(ops.Mount(dest=spec.target, input=-1, mount_type=ops.MountType.SECRET, secret=opt))
        return out

    def _agents(self) -> list[ops.Mount]:
        specs = [m for m in self.mounts if isinstance(m, SSHSpec)]
        out = []
        for spec, target in zip(specs, self._agent_targets(), strict=True):
            opt = ops.SSHOpt(id=spec.id, uid=spec.uid, gid=spec.gid, mode=spec.mode, optional=spec.optional)
            out.append(ops.Mount(dest=target, input=-1, mount_type=ops.MountType.SSH, ssh=opt))
        return out

    def _agent_targets(self) -> list[str]:
        specs = [m for m in self.mounts if isinstance(m, SSHSpec)]
        return [spec.target or f"/run/buildkit/ssh_agent.{number}" for number, spec in enumerate(specs)]


class _Splitter:
    """Words of a command line; the state is the word being read (None between words) and the open quote."""

    def __init__(self, command: str) -> None:
        self._rest = iter(command)
        self._words: list[str] = []
        self._word: list[str] | None = None

    def words(self) -> tuple[str, ...]:
        for char in self._rest:
            if char == "\\":
                self._add(self._escaped())
            elif char in "'\"":
                self._quoted(char)
            elif char in " \t\r\n":
                self._end()
            elif char == "#" and self._word is None:
                next((c for c in self._rest if c == "\n"), None)
            else:
                self._add(char)
        self._end()
        return tuple(self._words)

    def _add(self, text: str) -> None:
        if self._word is None:
            self._word = []
        self._word.append(text)

    def _end(self) -> None:
        if self._word is not None:
            self._words.append("".join(self._word))
            self._word = None

    def _escaped(self) -> str:
        char = next(self._rest, None)
        if char is None:
            raise StateError("EOF found after escape character")
        return char

    def _quoted(self, quote: str) -> None:
        self._add("")
        for char in self._rest:
            if char == quote:
                return
            self._add(self._escaped() if char == "\\" and quote == '"' else char)
        raise StateError("EOF found when expecting closing quote")


def split(command: str) -> tuple[str, ...]:
    """Split a command line into words as a POSIX shell does; ``#`` begins a comment only at the start of a word.

    Raises:
        StateError: a quote or escape is not ended.
    """
    return _Splitter(command).words()
