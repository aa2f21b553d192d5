# SPDX-License-Identifier: Apache-2.0
"""ONBUILD triggers: instructions in a base image that run in the stages built on it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.lower.stage import StageState
from llbkit.frontends.dockerfile.lower.stages import Stages, at_stage
from llbkit.frontends.dockerfile.program.instructions import Onbuild
from llbkit.frontends.dockerfile.program.reading import read_instruction
from llbkit.frontends.dockerfile.syntax.parse import parse
from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.frontends.kit.errors.places import Place
from llbkit.grammar import Diagnostic, DiagnosticError, Related, Source

_TRIGGER = "ONBUILD"
_WRONG_BASE = "rebuild the base image without this trigger"


def add_triggers(stages: Stages, reachable: Collection[StageState]) -> bool:
    """Put the triggers of their bases in front of the steps of stages; return whether they need anything new.

    Those of images that nothing is built on are read too: what an instruction names, and what takes a stage's place.

    Raises:
        ProgramError: a trigger is malformed; located at the stage that has it.
    """
    found = False
    for state in [state for state in stages.states if state in reachable]:
        if state in stages.triggered:
            continue
        stages.triggered.add(state)
        texts = _of_base(state.base) if state.base is not None else state.built.image.config.on_build
        state.built.image.config.on_build = []
        if texts:
            found |= _add(stages, state, texts)
    return found


def _located(first: Diagnostic, text: str, place: Place) -> ProgramError:
    """Return an error at the stage whose base left the trigger, which is shown too."""
    found = ProgramError(first.message, code=first.code, hint=first.help).locate(place)
    spans = [span for span in first.spans if span.source.name == _TRIGGER]
    shown = spans[0] if spans else Source(_TRIGGER, text, "Dockerfile").lines(1, 1)
    related = Related("from this trigger of the base image", shown)
    found.diagnostics = (replace(found.diagnostics[0], related=(related, *first.related)),)
    return found


def _of_base(base: StageState) -> list[str]:
    return [c.expression for step in base.steps if isinstance(c := step.instruction, Onbuild)]


def _add(stages: Stages, state: StageState, texts: Iterable[str]) -> bool:
    steps = []
    for text in texts:
        try:
            nodes = parse(Source(_TRIGGER, text, "Dockerfile")).nodes
            if len(nodes) != 1:
                raise errors.onbuild_trigger()
            if nodes[0].keyword == "from":
                raise errors.arguments("FROM isn't allowed as an ONBUILD trigger", _WRONG_BASE)
            command = at_stage(read_instruction(nodes[0]), state)
            steps.append(stages.step(state, command, onbuild=True))
        except DiagnosticError as error:
            raise _located(error.diagnostics[0], text, state.place) from None
    state.steps = [*steps, *state.steps]
    state.names.total += len(steps)
    return any(step.sources for step in steps)
