# SPDX-License-Identifier: Apache-2.0
"""WORKDIR, and the working directory inherited from the base image."""

from __future__ import annotations

from llbkit.frontends.dockerfile.facts import WorkdirEntered
from llbkit.frontends.dockerfile.lower.stage import StageState, Step
from llbkit.frontends.dockerfile.lower.steps import paths
from llbkit.frontends.dockerfile.program.instructions import Workdir
from llbkit.frontends.kit.errors.located import ProgramError


def enter(stage: StageState, path: str) -> str:
    """Change the working directory and return it, with slashes. Raises ProgramError."""
    system = stage.runs_on.os
    try:
        folder = paths.normalize(stage.built.image.config.working_dir, path, system, keep_slash=False)
    except ProgramError as error:
        raise error.prefixed("normalizing workdir: normalizing working directory: ") from None
    stage.built.image.config.working_dir = paths.from_slash(folder, system)
    stage.built.state = stage.built.state.dir(folder)
    return folder


def lower_workdir(stage: StageState, step: Step, command: Workdir) -> None:
    """WORKDIR: the directory is made, as a layer of its own, unless it is the root. Raises ProgramError."""
    path = stage.expand(step, command.path)
    absolute = paths.is_absolute(path, stage.runs_on.os)
    first = not stage.built.workdir_set
    stage.conversion.facts.tell(WorkdirEntered(command, stage.unknown_base, path, absolute, first))
    stage.built.workdir_set = True
    folder = enter(stage, path)
    if folder != "/":
        name = stage.names.next(
            stage.display_text(command.code), stage.runs_on, stage.env, onbuild=step.onbuild
        )
        stage.built.state = stage.built.state.mkdir(
            folder,
            0o755,
            parents=True,
            owner=stage.built.image.config.user or None,
            created=stage.conversion.created_ns,
            name=name,
            at=stage.conversion.at(command.place),
            platform=stage.runs_on,
        )
    stage.commit(f"WORKDIR {folder}", layer=folder != "/")
