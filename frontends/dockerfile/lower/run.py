# SPDX-License-Identifier: Apache-2.0
"""RUN: its command, heredocs and mounts."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Any

from frontends.dockerfile.errors import at
from frontends.dockerfile.instructions import Command, chomp
from frontends.dockerfile.lines import heredoc_of
from frontends.dockerfile.lower.context import paths_of
from frontends.dockerfile.lower.stage import COMMAND, StageState, upper_command
from frontends.dockerfile.mounts import Mount, read_mount
from llb import bind, scratch, secret, secret_env, ssh, tmpfs
from llb.files import mkdir, mkfile
from llb.mounts import AnyMount, SecretSpec
from llb.ops import CacheSharing, NetMode, SecurityMode
from llb.state import State

DEFAULT_SHELL = ("/bin/sh", "-c")
NO_OUTPUT = "exec.mount.bind.readwrite-nooutput"
WINDOWS_SHELL = ("cmd", "/S", "/C")


def shell_of(stage: StageState) -> tuple[str, ...]:
    """Return the shell that runs the shell form."""
    given = stage.image.config.get("Shell")
    if given:
        return tuple(given)
    return WINDOWS_SHELL if stage.target.os == "windows" else DEFAULT_SHELL


def lower_run(
    stage: StageState, command: Command, context: State, sources: Sequence[StageState | None]
) -> None:
    """Lower RUN; ``sources`` are the stages that its mounts name, in their order.

    Raises:
        DiagnosticError: a mount is malformed.
    """
    node = command.node
    if command.flags.has("device"):
        raise at(node, "device feature is only supported in Dockerfile frontend 1.14.0-labs or later")
    args, summary, documents = _arguments(stage, command)
    if command.shell:
        args = (*shell_of(stage), " ".join(args))
    mounts = [*documents, *_mounts(stage, command, context, sources)]
    if stage.options.shm_size:
        mounts.append(tmpfs("/dev/shm", size=stage.options.shm_size))
    name = upper_command(stage.shown(node.original + summary, keep=True, hidden=_hidden(mounts)))
    options: dict[str, Any] = {
        "name": stage.prefix(name),
        "description": {COMMAND: node.original},
        "at": stage.place(node),
    }
    if stage.ignore_cache:
        options["ignore_cache"] = True
    if stage.options.resources is not None:
        options["resources"] = stage.options.resources
    ran = stage.state.run(
        args,
        mounts=mounts,
        network=_network(stage, command),
        security=SecurityMode.INSECURE if command.flags.get("security") == "insecure" else None,
        extra_hosts={host.host: host.ip for host in stage.options.extra_hosts},
        ulimits=stage.options.ulimits,
        cgroup_parent=stage.options.cgroup_parent or None,
        hostname=stage.options.hostname or None,
        proxy=stage.options.proxy,
        **options,
    )
    stage.state = ran.root
    stage.commit(f"RUN {_history(stage, args)} # buildkit", layer=True)


def _hidden(mounts: Sequence[AnyMount]) -> dict[str, str]:
    """Return what is shown for variables that hold secrets."""
    return {mount.env: "****" for mount in mounts if isinstance(mount, SecretSpec) and mount.env}


def _network(stage: StageState, command: Command) -> NetMode | None:
    mode = command.flags.get("network")
    if not mode or mode == "default":
        mode = stage.options.network
    return {"host": NetMode.HOST, "none": NetMode.NONE}.get(mode)


def _arguments(stage: StageState, command: Command) -> tuple[tuple[str, ...], str, list[AnyMount]]:
    """Return the arguments, what is added to the display name, and the mount of a script with a shebang."""
    args = command.args
    documents = command.node.heredocs
    if not documents or not args:
        return args, "", []
    if heredoc_of(args[0]) is None:
        text = args[0] + "".join(f"\n{item.content}{item.name}" for item in documents)
        return (text,), "", []
    first = documents[0]
    data = chomp(first.content) if first.chomp else first.content
    summary = f" ({_summary(first.content)})"
    if not first.content.startswith("#!") or stage.target.os == "windows":
        return (data,), summary, []
    script = mkfile(first.name, data.encode("utf-8", "surrogateescape"), 0o755)
    state = scratch().file(script, name="[internal] preparing inline document")
    path = posixpath.join("/dev/pipes/", first.name)
    return (path,), summary, [bind(state, "/dev/pipes/", selector="/")]


def _summary(text: str) -> str:
    line = text.lstrip("\n").split("\n")[0].strip() if text.strip() else ""
    return line + "..." if len(text.strip().split("\n")) > 1 else line


def _history(stage: StageState, args: tuple[str, ...]) -> str:
    values: dict[str, str] = {}
    for key, value in stage.args:
        values[key] = f"{key}={stage.env.get(key, value or '')}"
    words = [f"|{len(values)}", *values.values()] if values else []
    return " ".join([*words, *args])


def _mounts(
    stage: StageState, command: Command, context: State, sources: Sequence[StageState | None]
) -> list[AnyMount]:
    out: list[AnyMount] = []
    for text, source in zip(command.flags.all("mount"), sources, strict=True):
        mount = read_mount(command.node, text, lambda value: stage.expand(value, command.node))
        out.append(_mount(stage, command, mount, context, source))
    return out


def _mount(
    stage: StageState, command: Command, mount: Mount, context: State, source: StageState | None
) -> AnyMount:
    if mount.type == "secret":
        return _secret(stage, mount)
    if mount.type == "ssh":
        mode = 0o600 if mount.mode is None else mount.mode
        return ssh(
            id=mount.id,
            target=mount.target,
            uid=mount.uid or 0,
            gid=mount.gid or 0,
            mode=mode,
            optional=not mount.required,
        )
    target = _target(stage, mount.target)
    if target == "/":
        raise at(command.node, 'invalid mount target "/"', code="mount", hint="write target=PATH")
    paths = stage.paths if source is None else paths_of(source.state)
    if paths is not None:
        paths.add(mount.source or "/")
    if mount.type == "tmpfs":
        return tmpfs(target, size=mount.size)
    state = source.state if source is not None else scratch() if mount.type == "cache" else context
    selector = posixpath.normpath(posixpath.join("/", mount.source)) if mount.source else ""
    if mount.type == "cache":
        return _cache(stage, mount, target, state, selector, source)
    return bind(
        state if state.output is not None else None,
        target,
        selector=selector if selector != "/" else "",
        readonly=mount.readonly,
        no_output=not mount.readonly and (stage.options.caps is None or NO_OUTPUT in stage.options.caps),
    )


def _cache(
    stage: StageState, mount: Mount, target: str, state: State, selector: str, source: StageState | None
) -> AnyMount:
    from llb.mounts import MountSpec
    from llb.ops import CacheOpt

    if source is None and (mount.uid is not None or mount.gid is not None or mount.mode is not None):
        mode = 0o755 if mount.mode is None else mount.mode
        action = mkdir("/cache", mode, owner=(mount.uid or 0, mount.gid or 0))
        state = scratch().file(action, name="[internal] setting cache mount permissions")
        selector = "/cache"
    name = mount.id or posixpath.normpath(target)
    sharing = CacheSharing[(mount.sharing or "shared").upper()]
    return MountSpec(
        target=target,
        source=state if state.output is not None else None,
        selector=selector if selector != "/" else "",
        readonly=mount.readonly,
        cache=CacheOpt(id=f"{stage.options.cache_namespace}/{name}", sharing=sharing),
    )


def _secret(stage: StageState, mount: Mount) -> AnyMount:
    name = mount.id or mount.source or posixpath.basename(mount.target)
    if mount.env is not None and not mount.target:
        return secret_env(mount.env, id=name, optional=not mount.required)
    target = mount.target or f"/run/secrets/{posixpath.basename(name)}"
    mode = 0o400 if mount.mode is None else mount.mode
    return secret(
        target,
        id=name,
        uid=mount.uid or 0,
        gid=mount.gid or 0,
        mode=mode,
        optional=not mount.required,
        env=mount.env or "",
    )


def _target(stage: StageState, target: str) -> str:
    if target.startswith("/"):
        return target if posixpath.normpath(target) != "/" else "/"
    if not target:
        return "/"
    return posixpath.normpath(posixpath.join(stage.image.config.get("WorkingDir") or "/", target))
