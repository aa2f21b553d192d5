# SPDX-License-Identifier: Apache-2.0
"""The mounts of RUN."""

from __future__ import annotations

import posixpath
from functools import partial

from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.facts import MountSeen
from llbkit.frontends.dockerfile.lower.stage import StageState, Step
from llbkit.frontends.dockerfile.lower.steps import paths
from llbkit.frontends.dockerfile.program.instructions import Run
from llbkit.frontends.dockerfile.program.mounts import Mount, read_mount
from llbkit.frontends.kit.errors.located import pointed
from llbkit.frontends.kit.errors.places import Place
from llbkit.frontends.kit.images import SCRATCH
from llbkit.frontends.kit.steps import cache_id
from llbkit.frontends.kit.subrequests.outline import MountFact
from llbkit.grammar.patterns.match import clean_path
from llbkit.llb.builder.files import mkdir
from llbkit.llb.builder.mounts import AnyMount, MountSpec, SecretSpec, SSHSpec
from llbkit.llb.builder.state import State
from llbkit.llb.ir.ops import CacheOpt, CacheSharing, TmpfsOpt

_NO_OUTPUT = "exec.mount.bind.readwrite-nooutput"
_SECRET_MODE, _SOCKET_MODE, _CACHE_MODE = 0o400, 0o600, 0o755


def lower_mounts(stage: StageState, step: Step, command: Run) -> list[AnyMount]:
    """Return the mounts of an instruction, in their order.

    Raises:
        ProgramError: a mount is malformed, or names a stage that comes later.
    """
    read = [read_mount(flag.value, lambda value: stage.expand(step, value)) for flag in command.mounts]
    for mount in read:
        stage.conversion.facts.tell(MountSeen(command, stage.unknown_base, mount))
    return [
        _mount(stage, mount, source, command.place) for mount, source in zip(read, step.sources, strict=True)
    ]


def _note(known: dict[str, MountFact], name: str, mount: Mount, place: Place) -> None:
    known.setdefault(name, MountFact(name=name, required=mount.required, place=place))


def _mount(stage: StageState, mount: Mount, source: StageState, place: Place) -> AnyMount:
    if mount.type == "cache" and not mount.source_stage:
        mount.source_stage = SCRATCH
    state = stage.conversion.context
    if mount.source_stage:
        if not source.lowered:
            with pointed(partial(mount.span, "source_stage")):
                raise errors.mount_before(mount.source_stage, mount.target)
        state = source.built.state
    match mount.type:
        case "secret":
            secret = _secret(mount)
            _note(stage.outline.secrets, secret.id, mount, place)
            return secret
        case "ssh":
            agent = _agent(mount)
            _note(stage.outline.agents, agent.id or "default", mount, place)
            return agent
        case _:
            return _filesystem(stage, mount, source, state)


def _filesystem(stage: StageState, mount: Mount, source: StageState, state: State) -> MountSpec:
    target = mount.target
    if not paths.is_absolute(clean_path(target), "linux"):
        target = paths.join("/", stage.built.state.settings.at(stage.conversion.target).dir, target)
    if target == "/":
        with pointed(partial(mount.span, "target")):
            raise errors.mount_target(target)
    selector = paths.join("/", mount.source)
    if selector == "/":
        selector = ""
        if mount.has_owner:
            state, selector = _owned(mount, state), "/cache"
    read = source.built.paths if mount.source_stage else stage.conversion.context_paths
    read.add(paths.join("/", mount.source))
    no_output = not mount.readonly and mount.type == "bind" and stage.conversion.options.supports(_NO_OUTPUT)
    return MountSpec(
        target=target,
        source=None if mount.type == "tmpfs" else state,
        readonly=bool(mount.readonly),
        selector=selector,
        no_output=no_output,
        cache=_cache(stage, mount),
        tmpfs=TmpfsOpt(size=mount.size) if mount.type == "tmpfs" else None,
    )


def _owned(mount: Mount, state: State) -> State:
    """Return the state of a cache whose directory has an owner or a mode."""
    mode = _CACHE_MODE if mount.mode is None else mount.mode
    action = mkdir("/cache", mode, owner=(mount.uid or 0, mount.gid or 0))
    return state.file(action, name="[internal] setting cache mount permissions")


def _cache(stage: StageState, mount: Mount) -> CacheOpt | None:
    if mount.type != "cache":
        return None
    name = mount.id or clean_path(mount.target)
    return CacheOpt(
        id=cache_id(stage.conversion.options, name),
        sharing=CacheSharing[(mount.sharing or "shared").upper()],
    )


def _secret(mount: Mount) -> SecretSpec:
    name = mount.source or mount.id or posixpath.basename(mount.target)
    target = mount.target
    if mount.env is None and not target:
        target = "/run/secrets/" + posixpath.basename(name)
    return SecretSpec(
        id=name,
        target=target,
        env=mount.env,
        uid=mount.uid or 0,
        gid=mount.gid or 0,
        mode=_SECRET_MODE if mount.mode is None else mount.mode,
        optional=not mount.required,
    )


def _agent(mount: Mount) -> SSHSpec:
    if mount.source:
        raise errors.mount(
            "ssh does not support source", "name the agent with id=", span=mount.span("source")
        )
    return SSHSpec(
        id=mount.id,
        target=mount.target,
        uid=mount.uid or 0,
        gid=mount.gid or 0,
        mode=_SOCKET_MODE if mount.mode is None else mount.mode,
        optional=not mount.required,
    )
