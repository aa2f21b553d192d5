# SPDX-License-Identifier: Apache-2.0
"""Instructions that change the image config or the settings of later steps, and WORKDIR."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Any

from frontends.dockerfile.durations import format_duration
from frontends.dockerfile.errors import at
from frontends.dockerfile.instructions import Arg, Command, Health, Instruction, Onbuild, Pairs, Words
from frontends.dockerfile.lower.run import shell_of
from frontends.dockerfile.lower.signals import is_signal
from frontends.dockerfile.lower.stage import StageState, upper_command

_SCANNED = ("BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE")
"""Arguments that choose what is scanned; no step sees them."""


def lower_arg(stage: StageState, command: Arg) -> None:
    """ARG: the build's value, else the default, else the global argument's."""
    shown = []
    for key, default in command.args:
        value = stage.options.build_args.get(key)
        if value is None and default is not None:
            value = stage.expand(default, command.node)
        elif value is None:
            value = stage.options.global_args.get(key)
        if value is not None and key not in _SCANNED:
            stage.set_env(key, value)
        stage.args.append((key, value))
        shown.append(key if value is None else f"{key}={value}")
    stage.commit("ARG " + " ".join(shown), layer=False)


def lower_env(stage: StageState, command: Pairs) -> None:
    """ENV: all values are expanded in the environment before the line."""
    before = dict(stage.env)
    shown = []
    for raw_key, raw_value in command.pairs:
        key, value = (
            stage.expand(raw_key, command.node, before),
            stage.expand(raw_value, command.node, before),
        )
        stage.set_env(key, value)
        env = stage.image.config.get("Env") or []
        names = [item.partition("=")[0] for item in env]
        if key in names:
            env[names.index(key)] = f"{key}={value}"
        else:
            env.append(f"{key}={value}")
        stage.image.config["Env"] = env
        shown.append(f"{key}={value}")
    stage.commit("ENV " + " ".join(shown), layer=False)


def lower_label(stage: StageState, command: Pairs) -> None:
    """LABEL."""
    labels = dict(stage.image.config.get("Labels") or {})
    shown = []
    for raw_key, raw_value in command.pairs:
        key, value = stage.expand(raw_key, command.node), stage.expand(raw_value, command.node)
        labels[key] = value
        shown.append(f"{key}={value}")
    stage.image.config["Labels"] = labels
    stage.commit("LABEL " + " ".join(shown), layer=False)


def lower_workdir(stage: StageState, command: Words) -> None:
    """WORKDIR: the directory is created, as a layer, unless it is the root."""
    given = stage.expand(command.word, command.node)
    current = stage.image.config.get("WorkingDir") or "/"
    path = given if given.startswith("/") else posixpath.normpath(posixpath.join(current, given))
    if not path.startswith("/"):
        # A base image may have a relative directory; it is taken relative to itself, as in BuildKit.
        path = posixpath.normpath(posixpath.join("/", current, path))
    path = "/" + path.lstrip("/")
    stage.image.config["WorkingDir"] = path
    stage.state = stage.state.dir(path)
    if path != "/":
        name = stage.prefix(upper_command(stage.shown(command.node.original)))
        epoch = stage.options.epoch
        stage.state = stage.state.mkdir(
            "/" + posixpath.normpath(path).lstrip("/"),
            0o755,
            parents=True,
            owner=stage.image.config.get("User") or None,
            created=-1 if epoch is None else epoch * 10**9,
            name=name,
            at=stage.place(command.node),
        )
    stage.commit(f"WORKDIR {path}", layer=path != "/")


def lower_user(stage: StageState, command: Words) -> None:
    """USER."""
    user = stage.expand(command.word, command.node)
    stage.state = stage.state.user(user)
    stage.image.config["User"] = user
    stage.commit(f"USER {user}", layer=False)


def lower_expose(stage: StageState, command: Words) -> None:
    """EXPOSE: ports and ranges, with a protocol."""
    ports = dict(stage.image.config.get("ExposedPorts") or {})
    words = [word for text in sorted(command.words) for word in stage.expansion(text, command.node).words]
    for word in words:
        for port in _ports(command, word):
            ports[port] = {}
    stage.image.config["ExposedPorts"] = ports
    found = dict.fromkeys(port for word in words for port in _ports(command, word))
    stage.commit(f"EXPOSE [{' '.join(found)}]", layer=False)


_PORT = re.compile(r"^(?:(?:[^/]*:)?)(\d+)(?:-(\d+))?$")


def _ports(command: Words, word: str) -> list[str]:
    value, _, protocol = word.partition("/")
    container = value.rpartition(":")[2]
    match = _PORT.match(container)
    if match is None or not 0 <= int(match[1]) <= int(match[2] or match[1]) <= 65535:
        raise at(command.node, f"invalid containerPort: {container}", hint="EXPOSE 80, 80/udp or 8000-8010")
    protocol = (protocol or "tcp").lower()
    if protocol not in ("tcp", "udp", "sctp"):
        raise at(command.node, f"invalid proto: {protocol}", hint="protocols are tcp, udp and sctp")
    return [f"{port}/{protocol}" for port in range(int(match[1]), int(match[2] or match[1]) + 1)]


def lower_volume(stage: StageState, command: Words) -> None:
    """VOLUME."""
    volumes = dict(stage.image.config.get("Volumes") or {})
    words = [stage.expand(word, command.node) for word in command.words]
    for word in words:
        if not word:
            raise at(command.node, "VOLUME specified can not be an empty string")
        volumes[word] = {}
    stage.image.config["Volumes"] = volumes
    stage.commit(f"VOLUME [{' '.join(words)}]", layer=False)


def lower_stopsignal(stage: StageState, command: Words) -> None:
    """STOPSIGNAL."""
    signal = stage.expand(command.word, command.node)
    if not is_signal(signal):
        raise at(command.node, f"invalid signal: {signal}", hint="for example SIGTERM or 15")
    stage.image.config["StopSignal"] = signal
    stage.commit(f"STOPSIGNAL {signal}", layer=False)


def lower_shell(stage: StageState, command: Words) -> None:
    """SHELL."""
    stage.image.config["Shell"] = list(command.words)
    stage.commit(f"SHELL [{' '.join(command.words)}]", layer=False)


def lower_cmd(stage: StageState, command: Command) -> None:
    """CMD."""
    args = (
        [*shell_of(stage), " ".join(command.args)] if command.shell and command.args else list(command.args)
    )
    stage.image.config["Cmd"] = args
    stage.image.config["ArgsEscaped"] = True
    stage.commit(f"CMD {_quoted(args)}", layer=False)


def lower_entrypoint(stage: StageState, command: Command) -> None:
    """ENTRYPOINT: a CMD from before, the base's too, is dropped unless this stage set it."""
    args = (
        [*shell_of(stage), " ".join(command.args)] if command.shell and command.args else list(command.args)
    )
    stage.image.config["Entrypoint"] = args
    if not any(c.node.keyword == "cmd" for c in stage.stage.commands[: stage.stage.commands.index(command)]):
        stage.image.config.pop("Cmd", None)
    stage.commit(f"ENTRYPOINT {_quoted(args)}", layer=False)


def _quoted(args: list[str]) -> str:
    from frontends.dockerfile.ast import go_quote

    return "[" + " ".join(go_quote(arg) for arg in args) + "]"


def lower_health(stage: StageState, command: Health) -> None:
    """HEALTHCHECK."""
    stage.image.config["Healthcheck"] = dict(command.config)
    config: dict[str, Any] = {key: command.config[key] for key in command.config}
    stage.commit(f"HEALTHCHECK {_go_struct(config)}", layer=False)


def _go_struct(config: dict[str, Any]) -> str:
    """Return a health check as Go prints its struct."""
    keys = ("Interval", "Timeout", "StartPeriod", "StartInterval")
    spans = " ".join(f"{key}:{format_duration(config.get(key, 0))}" for key in keys)
    return f"{{Test:[{' '.join(config.get('Test', ()))}] {spans} Retries:{config.get('Retries', 0)}}}"


def lower_onbuild(stage: StageState, command: Onbuild) -> None:
    """ONBUILD: kept for images built on this one."""
    stage.image.config["OnBuild"] = [*(stage.image.config.get("OnBuild") or []), command.expression]


def lower_maintainer(stage: StageState, command: Words) -> None:
    """MAINTAINER."""
    stage.image.author = command.word
    stage.commit(f"MAINTAINER {command.word}", layer=False)


SIMPLE: dict[str, Callable[[StageState, Any], None]] = {
    "arg": lower_arg,
    "cmd": lower_cmd,
    "entrypoint": lower_entrypoint,
    "env": lower_env,
    "expose": lower_expose,
    "healthcheck": lower_health,
    "label": lower_label,
    "maintainer": lower_maintainer,
    "onbuild": lower_onbuild,
    "shell": lower_shell,
    "stopsignal": lower_stopsignal,
    "user": lower_user,
    "volume": lower_volume,
    "workdir": lower_workdir,
}


def lower_simple(stage: StageState, command: Instruction) -> None:
    """Lower any instruction of this module."""
    SIMPLE[command.node.keyword](stage, command)
