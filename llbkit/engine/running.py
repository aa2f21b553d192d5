# SPDX-License-Identifier: Apache-2.0
"""Run one process in an image, in the foreground, like `docker run --rm`."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from llbkit.llb import Graph, Platform, image
from llbkit.llb.address.reference import parse
from llbkit.llb.ids import new_id
from llbkit.llb.ir.ops import HostIP, Meta, NetMode
from llbkit.records import dataclass
from llbkit.solver.events import Progress
from llbkit.worker.base import SourceError
from llbkit.worker.session.local import LocalSession

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from llbkit.solver.ports import Result
    from llbkit.worker.runtime.process import Attached
    from llbkit.worker.runtime.spec import MountSpec
    from llbkit.worker.worker import LocalWorker

Pull = Literal["missing", "always", "never"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What to run.

    ``command`` replaces the image's command; ``entrypoint`` None keeps the image's, and one that is given drops the
    image's command too, as Docker does. ``env`` adds to the image's. ``binds`` are mounts of the host.
    """

    image: str
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    workdir: str = ""
    user: str = ""
    hostname: str = ""
    hosts: tuple[HostIP, ...] = ()
    binds: Sequence[MountSpec] = ()
    tmpfs: tuple[str, ...] = ()
    network: NetMode = NetMode.UNSET
    privileged: bool = False
    readonly: bool = False
    platform: Platform | None = None
    pull: Pull = "missing"


class NoCommandError(Exception):
    """Neither the image nor the request says what to run."""


def process_of(request: RunRequest, config: bytes) -> Meta:
    """Return the process of a request in an image with this config.

    Raises:
        NoCommandError: no command is given.
    """
    inner: dict[str, Any] = json.loads(config).get("config") or {}
    entrypoint = request.entrypoint
    command = request.command
    if entrypoint is None:
        entrypoint = tuple(inner.get("Entrypoint") or ())
        command = command or tuple(inner.get("Cmd") or ())
    args = (*entrypoint, *command)
    if not args:
        raise NoCommandError(f"{request.image} has no command")
    env = dict(item.partition("=")[::2] for item in inner.get("Env") or ())
    env |= request.env
    return Meta(
        args=args,
        env=tuple(f"{name}={value}" for name, value in env.items()),
        cwd=posixpath.join("/", inner.get("WorkingDir") or "", request.workdir),
        user=request.user or inner.get("User") or "",
        hostname=request.hostname,
        extra_hosts=request.hosts,
    )


async def run(
    request: RunRequest,
    attached: Attached,
    *,
    worker: LocalWorker,
    solve: Callable[[Graph, Progress], Awaitable[Result | None]],
    progress: Progress,
) -> int:
    """Run a process and return its exit code; what it changes is thrown away.

    ``solve`` brings in the image. ``progress`` sees that, not the process.

    Raises:
        NoCommandError: no command is given.
        WorkerError: the image cannot be had, or the process cannot be started.
    """
    from llbkit.worker.ops.exec.foreground import Foreground

    session = LocalSession(id=new_id())  # answers are kept for each session
    platform = request.platform or worker.platforms[0]
    name = request.image
    if request.pull != "always":
        with suppress(SourceError) if request.pull == "missing" else nullcontext():
            name = worker.images.find(name).name
    mode: Literal["pull", "local"] = "pull" if request.pull == "always" else "local"
    resolved = await worker.resolve_image(name, platform, mode, session)
    meta = process_of(request, resolved.config)
    pinned = parse(name).with_digest(resolved.digest)
    result = await solve(image(str(pinned), platform=platform).graph(platform=platform), progress)
    process = Foreground(
        meta=meta,
        attached=attached,
        binds=request.binds,
        tmpfs=request.tmpfs,
        network=request.network,
        privileged=request.privileged,
        readonly=request.readonly,
    )
    return await worker.run_attached(process, await worker.snapshot(result), session, platform)
