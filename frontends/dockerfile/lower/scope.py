# SPDX-License-Identifier: Apache-2.0
"""ARG, ENV and LABEL: variables for later words, and what the image config keeps."""

from __future__ import annotations

from collections.abc import Iterable

from llbkit.frontends.dockerfile.facts import ArgDeclared, PairSet
from llbkit.frontends.dockerfile.lower.stage import StageState, Step
from llbkit.frontends.dockerfile.program.instructions import SCAN_ARGS, Arg, Env, Label, Pair
from llbkit.frontends.kit.subrequests.outline import ArgFact, description_of


def lower_arg(stage: StageState, step: Step, command: Arg) -> None:
    """ARG: the build's value, else the default, else the global argument's. Raises ProgramError."""
    conversion = stage.conversion
    shown = []
    for word, default in command.args:
        conversion.facts.tell(ArgDeclared(command, stage.unknown_base, word))
        key = str(word)  # without its place, for the sake of the dictionaries
        value = conversion.build_args.get(key)
        inherits = value is None and default is None and key in conversion.global_args
        if value is None and default is not None:
            value = stage.expand(step, default)
        elif value is None:
            value = conversion.global_args.get(key)
        fact = ArgFact(
            name=key, value=value, description=description_of(command.comments, key), place=command.place
        )
        stage.outline.declare(key, None if inherits else fact)
        if value is not None and key not in SCAN_ARGS:
            stage.built.variables.set(key, value)
        stage.built.variables.args.append((key, value))
        shown.append(key if value is None else f"{key}={value}")
    stage.commit("ARG " + " ".join(shown))


def lower_env(stage: StageState, step: Step, command: Env) -> None:
    """ENV: the whole line is expanded in the environment before it. Raises ProgramError."""
    pairs = _expanded(stage, step, command.pairs)
    shown = []
    for pair, (key, value) in zip(command.pairs, pairs, strict=True):
        stage.conversion.facts.tell(PairSet(command, stage.unknown_base, pair, key))
        stage.built.variables.set(key, value)
        stage.built.image.config.set_env(key, value)
        shown.append(f"{key}={value}")
    stage.commit("ENV " + " ".join(shown))


def lower_label(stage: StageState, step: Step, command: Label) -> None:
    """LABEL. Raises ProgramError."""
    pairs = _expanded(stage, step, command.pairs)
    shown = []
    for pair, (key, value) in zip(command.pairs, pairs, strict=True):
        stage.conversion.facts.tell(PairSet(command, stage.unknown_base, pair, key))
        stage.built.image.config.labels[key] = value
        shown.append(f"{key}={value}")
    stage.commit("LABEL " + " ".join(shown))


def _expanded(stage: StageState, step: Step, pairs: Iterable[Pair]) -> list[tuple[str, str]]:
    return [(stage.expand(step, pair.key), stage.expand(step, pair.value)) for pair in pairs]
