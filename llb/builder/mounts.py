# SPDX-License-Identifier: Apache-2.0
"""Mounts of a process as values: ``state.run(..., mounts=[bind(local("context"), "/src"), cache("/root/.cache")])``."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from llbkit.llb.builder.arguments import expect
from llbkit.llb.ir.ops import CacheOpt, CacheSharing, ContentCache, TmpfsOpt
from llbkit.records import dataclass

if TYPE_CHECKING:
    from llbkit.llb.builder.state import State


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MountSpec:
    """A filesystem at ``target``; no ``source`` is an empty one. Only a writable one without cache is a result."""

    target: str
    source: State | None = None
    readonly: bool = False
    selector: str = ""
    no_output: bool = False
    cache: CacheOpt | None = None
    tmpfs: TmpfsOpt | None = None
    content_cache: ContentCache = ContentCache.DEFAULT

    @property
    def is_output(self) -> bool:
        """Whether what the process writes here becomes a result."""
        return not (self.readonly or self.no_output or self.cache or self.tmpfs)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSpec:
    """A secret as a file (``target``), as an environment variable (``env``, None: as none), or both."""

    id: str
    target: str = ""
    env: str | None = None
    uid: int = 0
    gid: int = 0
    mode: int = 0o400
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SSHSpec:
    """An SSH agent's socket; no ``target`` is ``/run/buildkit/ssh_agent.N``."""

    id: str = ""
    target: str = ""
    uid: int = 0
    gid: int = 0
    mode: int = 0o600
    optional: bool = False


AnyMount: TypeAlias = MountSpec | SecretSpec | SSHSpec


def _check(function: str, target: str, source: object = None) -> None:
    expect(function, "target", target, str)
    if source is not None and not hasattr(source, "output"):
        raise TypeError(f"{function}() argument 'source' must be State or None, not {type(source).__name__}")


def bind(
    source: State | None,
    target: str,
    *,
    selector: str = "",
    readonly: bool = True,
    no_output: bool = False,
    content_cache: ContentCache = ContentCache.DEFAULT,
) -> MountSpec:
    """Mount ``source`` (None: an empty directory) at ``target``; writable ones are results of the run.

    >>> from llbkit.llb import image, local
    >>> image("gcc").run("make -C /src", mounts=[bind(local("context"), "/src")]).graph().head.vertex.op.mounts[1].readonly
    True
    """
    _check("bind", target, source)
    return MountSpec(
        target=target,
        source=source,
        selector=selector,
        readonly=readonly,
        no_output=no_output,
        content_cache=content_cache,
    )


def cache(
    target: str,
    *,
    id: str = "",  # noqa: A002
    sharing: CacheSharing = CacheSharing.SHARED,
    source: State | None = None,
) -> MountSpec:
    """Mount a directory that outlives the step, known by ``id`` (default: its target).

    >>> from llbkit.llb import image
    >>> step = image("python").run("pip install flask", mounts=[cache("/root/.cache", id="pip")])
    >>> step.graph().head.vertex.op.mounts[1].cache.id
    'pip'
    """
    _check("cache", target, source)
    return MountSpec(target=target, source=source, cache=CacheOpt(id=id or target, sharing=sharing))


def tmpfs(target: str, *, size: int = 0) -> MountSpec:
    """Mount an empty filesystem in memory of at most ``size`` bytes (0: the kernel's default).

    >>> from llbkit.llb import image
    >>> image("alpine").run("make", mounts=[tmpfs("/tmp", size=1 << 20)]).graph().head.vertex.op.mounts[1].tmpfs.size
    1048576
    """
    _check("tmpfs", target)
    expect("tmpfs", "size", size, int)
    return MountSpec(target=target, tmpfs=TmpfsOpt(size=size))


def secret(
    target: str,
    *,
    id: str = "",  # noqa: A002
    uid: int = 0,
    gid: int = 0,
    mode: int = 0o400,
    optional: bool = False,
    env: str | None = None,
) -> SecretSpec:
    """Show the secret ``id`` (default: its target) as a file that is in no layer, and as a variable unless ``env`` is None.

    >>> from llbkit.llb import image
    >>> step = image("alpine").run("cat /run/secrets/token", mounts=[secret("/run/secrets/token", id="token")])
    >>> step.graph().head.vertex.op.mounts[1].secret.id
    'token'
    """
    _check("secret", target)
    return SecretSpec(id=id or target, target=target, uid=uid, gid=gid, mode=mode, optional=optional, env=env)


def secret_env(name: str, *, id: str = "", optional: bool = False) -> SecretSpec:  # noqa: A002
    """Show the secret ``id`` (default: the variable's name) as an environment variable.

    >>> from llbkit.llb import image
    >>> image("alpine").run("env", mounts=[secret_env("TOKEN")]).graph().head.vertex.op.secret_env[0].name
    'TOKEN'
    """
    expect("secret_env", "name", name, str)
    return SecretSpec(id=id or name, env=name, optional=optional)


def ssh(
    *,
    id: str = "",  # noqa: A002
    target: str = "",
    uid: int = 0,
    gid: int = 0,
    mode: int = 0o600,
    optional: bool = False,
) -> SSHSpec:
    """Forward an SSH agent.

    >>> from llbkit.llb import image
    >>> step = image("alpine/git").run("git clone git@example.com:team/app", mounts=[ssh()])
    >>> step.graph().head.vertex.op.mounts[1].dest
    '/run/buildkit/ssh_agent.0'
    """
    return SSHSpec(id=id, target=target, uid=uid, gid=gid, mode=mode, optional=optional)
