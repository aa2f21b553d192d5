# SPDX-License-Identifier: Apache-2.0
"""Instructions that only change the image config: CMD, ENTRYPOINT, EXPOSE, HEALTHCHECK, USER and the like."""

from __future__ import annotations

from functools import partial

from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.facts import PortExposed, ProcessSet
from llbkit.frontends.dockerfile.lower.stage import StageState, Step
from llbkit.frontends.dockerfile.program.instructions import (
    Cmd,
    CommandLine,
    Entrypoint,
    Expose,
    Healthcheck,
    Maintainer,
    Onbuild,
    Shell,
    StopSignal,
    User,
    Volume,
)
from llbkit.frontends.dockerfile.program.ports import ports_checked
from llbkit.frontends.dockerfile.program.words import WordError, expand
from llbkit.frontends.dockerfile.syntax.words import where
from llbkit.frontends.kit.errors.located import pointed
from llbkit.frontends.kit.golang.text import format_duration, plain_list, quoted_list
from llbkit.frontends.kit.image import HealthConfig
from llbkit.frontends.kit.values.ports import PortWord
from llbkit.frontends.kit.values.signals import is_signal, likely_signal

_PORT_LENGTH = len("65535/tcp")
_DEFAULT_SHELL = ("/bin/sh", "-c")
_WINDOWS_SHELL = ("cmd", "/S", "/C")


def with_shell(stage: StageState, line: CommandLine) -> list[str]:
    """Return the arguments of a command, with the shell in front if it is in shell form."""
    if not line.shell:
        return list(line.words)
    shell = stage.built.image.config.shell
    if not shell:
        shell = list(_WINDOWS_SHELL if stage.built.image.platform.os == "windows" else _DEFAULT_SHELL)
    return [*shell, " ".join(line.words)]


def _note(stage: StageState, command: Cmd | Entrypoint | Healthcheck) -> None:
    kind = command.keyword.lower()
    earlier, has_shell = stage.processes.get(kind), bool(stage.built.image.config.shell)
    stage.conversion.facts.tell(ProcessSet(command, stage.unknown_base, earlier, has_shell))
    stage.processes[kind] = command


def lower_cmd(stage: StageState, command: Cmd) -> None:
    """CMD."""
    _note(stage, command)
    args = with_shell(stage, command.line)
    stage.built.image.config.cmd = args
    stage.built.image.config.args_escaped = True
    stage.commit(f"CMD {quoted_list(args)}")


def lower_entrypoint(stage: StageState, command: Entrypoint) -> None:
    """ENTRYPOINT: the base's CMD is dropped, one of this stage stays."""
    _note(stage, command)
    args = with_shell(stage, command.line)
    stage.built.image.config.entrypoint = args
    if "cmd" not in stage.processes:
        stage.built.image.config.cmd = []
    stage.commit(f"ENTRYPOINT {quoted_list(args)}")


def lower_healthcheck(stage: StageState, command: Healthcheck) -> None:
    """HEALTHCHECK."""
    _note(stage, command)
    stage.built.image.config.healthcheck = HealthConfig(
        test=command.test,
        interval=command.interval,
        timeout=command.timeout,
        start_period=command.start_period,
        start_interval=command.start_interval,
        retries=command.retries,
    )
    times = {
        "Interval": command.interval,
        "Timeout": command.timeout,
        "StartPeriod": command.start_period,
        "StartInterval": command.start_interval,
    }
    shown = " ".join(f"{key}:{format_duration(value)}" for key, value in times.items())
    stage.commit(f"HEALTHCHECK {{Test:{plain_list(command.test)} {shown} Retries:{command.retries}}}")


def lower_expose(stage: StageState, command: Expose) -> None:
    """EXPOSE: ports and ranges, with a protocol. Raises ProgramError."""
    words: list[tuple[str, str]] = []
    for written in command.ports:
        try:
            words += ((word, written) for word in expand(written, stage.env, stage.conversion.mode).words)
        except WordError as error:
            with pointed(partial(where, written)):
                raise errors.word(str(error)) from None
    ports: list[str] = []
    for word, written in words:
        with pointed(partial(where, written)):
            with ports_checked():
                parts = PortWord.cut(word)
                stage.conversion.facts.tell(PortExposed(command, stage.unknown_base, parts, written))
                found = parts.container_ports()
            stage.conversion.charge(_PORT_LENGTH * len(found))
            ports += found
    stage.built.image.config.exposed_ports.update(ports)
    stage.commit(f"EXPOSE {plain_list(ports)}")


def lower_user(stage: StageState, step: Step, command: User) -> None:
    """USER. Raises ProgramError."""
    user = stage.expand(step, command.user)
    stage.built.state = stage.built.state.user(user)
    stage.built.image.config.user = user
    stage.commit(f"USER {user}")


def lower_volume(stage: StageState, step: Step, command: Volume) -> None:
    """VOLUME. Raises ProgramError."""
    paths = stage.expand_all(step, command.paths)
    if not all(paths):
        raise errors.arguments("VOLUME specified can not be an empty string")
    stage.built.image.config.volumes.update(paths)
    stage.commit(f"VOLUME {plain_list(paths)}")


def lower_stopsignal(stage: StageState, step: Step, command: StopSignal) -> None:
    """STOPSIGNAL. Raises ProgramError."""
    signal = stage.expand(step, command.signal)
    if not is_signal(signal):
        with pointed(partial(where, command.signal)):
            raise errors.signal(signal, likely_signal(signal))
    stage.built.image.config.stop_signal = signal
    stage.commit(f"STOPSIGNAL {signal}")


def lower_shell(stage: StageState, command: Shell) -> None:
    """SHELL."""
    stage.built.image.config.shell = list(command.words)
    stage.commit(f"SHELL {plain_list(command.words)}")


def lower_onbuild(stage: StageState, command: Onbuild) -> None:
    """ONBUILD: kept for images built on this one."""
    stage.built.image.config.on_build.append(command.expression)


def lower_maintainer(stage: StageState, command: Maintainer) -> None:
    """MAINTAINER."""
    stage.built.image.author = command.name
    stage.commit(f"MAINTAINER {command.name}")
