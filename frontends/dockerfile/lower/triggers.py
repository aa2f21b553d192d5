# SPDX-License-Identifier: Apache-2.0
"""ONBUILD triggers: instructions that a base left for the stages built on it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from frontends.dockerfile import errors
from frontends.dockerfile.instructions import Onbuild
from frontends.dockerfile.lower.stage import StageState
from frontends.dockerfile.lower.stages import Stages, at_stage
from frontends.dockerfile.parse import parse
from frontends.dockerfile.reading import read_instruction
from grammar import DiagnosticError, Source


def add_triggers(stages: Stages, reachable: Collection[StageState]) -> bool:
    """Put the triggers of their bases in front of the steps of stages; tell whether they need anything new.

    Raises:
        DockerfileError: a trigger is malformed; located at the stage that has it.
    """
    found = False
    for state in [state for state in stages.states if state in reachable]:
        if state.triggered or state.lowered:
            continue
        state.triggered = True
        texts = _of_base(state.base) if state.base is not None else state.image.config.on_build
        state.image.config.on_build = []
        if texts:
            found |= _add(stages, state, texts)
    return found


def _of_base(base: StageState) -> list[str]:
    return [c.expression for step in base.steps if isinstance(c := step.instruction, Onbuild)]


def _add(stages: Stages, state: StageState, texts: Iterable[str]) -> bool:
    steps = []
    for text in texts:
        try:
            nodes = parse(Source("ONBUILD", text, "Dockerfile")).nodes
            if len(nodes) != 1:
                raise errors.onbuild_trigger()
            command = at_stage(read_instruction(nodes[0]), state)
            steps.append(stages.step(state, command, onbuild=True))
        except errors.DockerfileError as error:
            raise error.locate(state.place, replace_all=True) from None
        except DiagnosticError as error:
            first = error.diagnostics[0]
            raise errors.arguments(first.message, first.help).locate(state.place) from None
    state.steps = [*steps, *state.steps]
    state.total += len(steps)
    return any(step.sources for step in steps)
