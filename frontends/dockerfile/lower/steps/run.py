# SPDX-License-Identifier: Apache-2.0
"""RUN: its command and heredocs, its settings and devices."""

from __future__ import annotations

from dataclasses import replace

from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.lower.conversion import COMMAND
from llbkit.frontends.dockerfile.lower.stage import StageState, Step
from llbkit.frontends.dockerfile.lower.steps import paths
from llbkit.frontends.dockerfile.lower.steps.config import with_shell
from llbkit.frontends.dockerfile.lower.steps.mounts import lower_mounts
from llbkit.frontends.dockerfile.program.instructions import CommandLine, Run
from llbkit.frontends.dockerfile.program.reading import chomp
from llbkit.frontends.dockerfile.syntax.lines import heredoc_of
from llbkit.frontends.kit.golang.text import plain_list
from llbkit.frontends.kit.golang.utf8 import require_utf8
from llbkit.frontends.kit.steps import run
from llbkit.llb import bind, scratch
from llbkit.llb.builder.files import mkfile
from llbkit.llb.builder.mounts import AnyMount, SecretSpec
from llbkit.llb.ir.ops import CDIDevice, NetMode, SecurityMode

_PIPES = "/dev/pipes/"
_MASK = "****"


def lower_run(stage: StageState, step: Step, command: Run) -> None:
    """Lower RUN.

    Raises:
        ProgramError: a mount or device is malformed, or not possible here.
    """
    options = stage.conversion.options
    stage.seal_env()
    mounts = lower_mounts(stage, step, command)
    stage.built.paths.add("/")
    line, summary, documents = _line(stage, command)
    args = with_shell(stage, line)
    devices = _devices(stage, command)
    stage.conversion.charge(sum(map(len, stage.env.values())) + sum(map(len, args)))
    require_utf8((command.code, *args, *(device.name for device in devices)), command.span)
    env = stage.env | {m.env: _MASK for m in mounts if isinstance(m, SecretSpec) and m.env}
    shown = stage.display_text(command.code + summary, raw=True, env=env)
    platform = stage.built.state.settings.at(stage.conversion.target).platform
    step_options = stage.step_options(
        step, stage.names.next(shown, platform, stage.env, onbuild=step.onbuild)
    )
    step_options["description"] = {COMMAND: command.code}
    ran = run(
        stage.built.state,
        args,
        options,
        mounts=[*documents, *mounts],
        network={"host": NetMode.HOST, "none": NetMode.NONE}.get(command.network),
        security=SecurityMode.INSECURE if command.security == "insecure" else None,
        devices=devices,
        **step_options,
    )
    stage.built.state = stage.built.state.with_output(ran.output)
    stage.commit(f"RUN {_history(stage, args)}", changed=True)


def _line(stage: StageState, command: Run) -> tuple[CommandLine, str, list[AnyMount]]:
    """Return the command with its heredocs, what is added to the display name, and the mount of a script."""
    line = command.line
    if not command.files:
        return line, "", []
    if len(line.words) != 1 or not line.shell:
        raise errors.arguments(f"parsing produced an invalid run command: {plain_list(line.words)}")
    if heredoc_of(line.words[0]) is None:
        text = line.words[0] + "".join(f"\n{item.data}{item.name}" for item in command.files)
        return replace(line, words=(text,)), "", []
    first = command.files[0]
    data = chomp(first.data) if first.chomp else first.data
    summary = f" ({_summary(first.data)})"
    # The tabs that <<- drops are gone before a shebang is looked for.
    if not data.startswith("#!") or stage.built.image.platform.os == "windows":
        return replace(line, words=(data,)), summary, []
    script = scratch().file(
        mkfile(first.name, data.encode("utf-8", "surrogateescape"), 0o755),
        name="[internal] preparing inline document",
        platform=stage.runs_on,
    )
    mount = bind(script, _PIPES, selector="/")
    return replace(line, words=(paths.join(_PIPES, first.name),)), summary, [mount]


def _summary(text: str) -> str:
    lines = text.strip().replace("\r\n", "\n").split("\n")
    return lines[0] + ("..." if len(lines) > 1 else "")


def _devices(stage: StageState, command: Run) -> list[CDIDevice]:
    if not stage.conversion.options.supports("exec.meta.cdi"):
        return []
    if command.devices and not stage.conversion.options.labs:
        raise errors.device(
            "device feature is only supported in Dockerfile frontend 1.14.0-labs or later",
            "begin the file with # syntax=docker/dockerfile:1-labs",
        )
    return [*stage.conversion.options.devices, *command.devices]


def _history(stage: StageState, args: list[str]) -> str:
    env = stage.env
    values = {key: f"{key}={env.get(key, value or '')}" for key, value in stage.built.variables.args}
    return " ".join([*([f"|{len(values)}", *values.values()] if values else ()), *args])
