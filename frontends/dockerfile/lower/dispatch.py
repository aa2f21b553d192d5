# SPDX-License-Identifier: Apache-2.0
"""One stage: its settings, then its instructions in order."""

from __future__ import annotations

from typing import assert_never

from llbkit.frontends.dockerfile.lower import scope
from llbkit.frontends.dockerfile.lower.stage import StageState, Step
from llbkit.frontends.dockerfile.lower.steps import config
from llbkit.frontends.dockerfile.lower.steps.copy import lower_copy
from llbkit.frontends.dockerfile.lower.steps.run import lower_run
from llbkit.frontends.dockerfile.lower.steps.workdir import enter, lower_workdir
from llbkit.frontends.dockerfile.program.instructions import (
    SCAN_ARGS,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from llbkit.frontends.kit.errors.located import ErrorCollector, located
from llbkit.frontends.kit.golang.text import parse_bool
from llbkit.frontends.kit.image import DEFAULT_PATH
from llbkit.frontends.kit.steps import configured


def lower_stage(stage: StageState, collector: ErrorCollector) -> None:
    """Lower all instructions of a stage whose base is ready; those that are wrong are kept, located.

    After a wrong ARG or ENV the stage ends, for what follows may use its variables.
    """
    stage.begin()
    if stage.platform is None:
        stage.platform = stage.conversion.target
    with collector.collected():
        _settings(stage)
    for step in stage.steps:
        before = len(collector.errors)
        with collector.collected(), located(step.instruction.place):
            _lower(stage, step)
        if len(collector.errors) > before and isinstance(step.instruction, Arg | Env):
            break
    stage.seal_env()
    stage.lowered = True
    stage.scans = frozenset(name for name in SCAN_ARGS if _scans(stage, name))


def _settings(stage: StageState) -> None:
    """Take environment, directory and user of the image."""
    image, options = stage.built.image.config, stage.conversion.options
    if not image.has_env("PATH") and stage.runs_on.os != "windows":
        image.env.append(f"PATH={DEFAULT_PATH}")
    for item in image.env:
        key, _, value = item.partition("=")
        stage.built.variables.set(key, value)
    stage.built.state = configured(stage.built.state, options)
    if image.working_dir:
        with located(stage.place):
            enter(stage, image.working_dir)
    if image.user:
        stage.built.state = stage.built.state.user(image.user)


def _lower(stage: StageState, step: Step) -> None:  # noqa: C901  (one line for each instruction)
    match step.instruction:
        case Arg() as command:
            scope.lower_arg(stage, step, command)
        case Env() as command:
            scope.lower_env(stage, step, command)
        case Label() as command:
            scope.lower_label(stage, step, command)
        case Run() as command:
            lower_run(stage, step, command)
        case Copy() as command:
            lower_copy(stage, step, command)
        case Workdir() as command:
            lower_workdir(stage, step, command)
        case Cmd() as command:
            config.lower_cmd(stage, command)
        case Entrypoint() as command:
            config.lower_entrypoint(stage, command)
        case Healthcheck() as command:
            config.lower_healthcheck(stage, command)
        case Expose() as command:
            config.lower_expose(stage, command)
        case User() as command:
            config.lower_user(stage, step, command)
        case Volume() as command:
            config.lower_volume(stage, step, command)
        case StopSignal() as command:
            config.lower_stopsignal(stage, step, command)
        case Shell() as command:
            config.lower_shell(stage, command)
        case Onbuild() as command:
            config.lower_onbuild(stage, command)
        case Maintainer() as command:
            config.lower_maintainer(stage, command)
        case other:
            assert_never(other)


def _scans(stage: StageState, name: str) -> bool:
    """Return whether an argument asks for the bill of materials of this stage."""
    on = _is_on(stage, stage.conversion.global_args.get(name))
    for key, value in stage.built.variables.args:
        if key == name and value is not None:
            on = _is_on(stage, value)
    return on


def _is_on(stage: StageState, value: str | None) -> bool:
    if value is None:
        return False
    truth = parse_bool(value)
    return stage.name in value.split(",") if truth is None else truth
