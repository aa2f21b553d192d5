# SPDX-License-Identifier: Apache-2.0
"""A program to the state and image of its target, for one platform.

The order is BuildKit's, since messages and warnings depend on it: global arguments, the stages with their bases and
platforms, what they name, base images, ONBUILD triggers, and then the instructions of every stage that is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import field

from llbkit.frontends.base import Bridge
from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.errors.later import later_errors
from llbkit.frontends.dockerfile.facts import (
    DefaultBase,
    ProgramRead,
    StageNamed,
    TargetLowered,
    WordExpanded,
)
from llbkit.frontends.dockerfile.lower.bases import resolve_bases
from llbkit.frontends.dockerfile.lower.conversion import Conversion
from llbkit.frontends.dockerfile.lower.dispatch import lower_stage
from llbkit.frontends.dockerfile.lower.epoch import resolve_epoch
from llbkit.frontends.dockerfile.lower.epoch_stage import StageArgs
from llbkit.frontends.dockerfile.lower.stage import StageState
from llbkit.frontends.dockerfile.lower.stages import Stages
from llbkit.frontends.dockerfile.lower.triggers import add_triggers
from llbkit.frontends.dockerfile.options import DockerfileOptions
from llbkit.frontends.dockerfile.outline import summarize
from llbkit.frontends.dockerfile.program.instructions import SCAN_CONTEXT, SCAN_STAGE, Program
from llbkit.frontends.dockerfile.program.words import Mode, WordError, expand
from llbkit.frontends.dockerfile.syntax.ast import ParsedFile
from llbkit.frontends.kit import platforms
from llbkit.frontends.kit.compilation import Lowered
from llbkit.frontends.kit.errors import texts as common
from llbkit.frontends.kit.errors.located import ErrorCollector, ProgramError
from llbkit.frontends.kit.images import Images
from llbkit.frontends.kit.inputs.contexts import Contexts
from llbkit.frontends.kit.inputs.epoch import NAME as EPOCH
from llbkit.frontends.kit.inputs.epoch import SourceTimes
from llbkit.frontends.kit.lint.facts import Facts
from llbkit.frontends.kit.subrequests.outline import ArgFact, TargetOutline, description_of
from llbkit.grammar.patterns.match import PatternError, PatternMatcher
from llbkit.llb.builder.options import SourceText
from llbkit.llb.builder.state import State
from llbkit.llb.ir.ops import Platform
from llbkit.llb.ir.walk import no_garbage
from llbkit.records import dataclass

_MOST_ARGS = 1 << 26
"""How many characters the defaults of global arguments may expand to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted(Lowered):
    """The target for one platform. ``sbom`` are further states to scan, ``stage`` is the target's."""

    ignore_cache: bool
    sbom: Mapping[str, State] = field(default_factory=dict, repr=False)
    stage: StageState = field(repr=False)

    @property
    def outline(self) -> TargetOutline:
        """What the target takes from outside; it is named by its FROM and described above it."""
        stage = self.stage.stage
        return TargetOutline(
            name=stage.name,
            description=description_of(stage.comments, stage.name),
            summary=summarize(self.stage),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is converted: the file with its text, the world around it, and who hears of it.

    ``every_stage`` lowers also the stages that the target does not need. A ``tolerant`` conversion looks at all of the
    file before it fails for an image that cannot be reached.
    """

    file: ParsedFile
    program: Program
    text: SourceText
    bridge: Bridge
    contexts: Contexts
    options: DockerfileOptions
    images: Images
    times: SourceTimes
    facts: Facts
    every_stage: bool = False
    tolerant: bool = False


def _tell_file(request: Request, predefined: Mapping[str, str]) -> None:
    """Tell the facts about the file as a whole; ``predefined`` are the predefined arguments."""
    facts, program = request.facts, request.program
    for stage in program.stages:
        facts.tell(StageNamed(stage))
    facts.tell(ProgramRead(program))
    if not facts.wants(DefaultBase):
        return
    mode = Mode(escape=request.file.escape)
    with suppress(WordError, ProgramError):  # which are reported when the words are expanded for the build
        known, _ = global_args(program, predefined, {}, mode)
        for stage in program.stages:
            facts.tell(DefaultBase(stage, expand(stage.base, known, mode).text))


def global_args(
    program: Program,
    predefined: Mapping[str, str],
    build_args: Mapping[str, str],
    mode: Mode,
) -> tuple[dict[str, str], dict[str, ArgFact]]:
    """Return the arguments that FROM sees, and where those that the file declares are declared.

    Raises:
        ProgramError: a default is malformed.
    """
    out = dict(predefined)
    facts: dict[str, ArgFact] = {}
    room = _MOST_ARGS
    for command in program.args:
        for word, default in command.args:
            key = str(word)  # without its place, for the sake of the dictionaries
            value, uses = build_args.get(key), frozenset[str]()
            if value is None and default is not None:
                try:
                    expanded = expand(default, out, mode)
                except WordError as error:
                    raise errors.word(str(error)).locate(command.place) from None
                value, uses = expanded.text, frozenset(expanded.matched)
                room -= len(value)
                if room < 0:
                    raise errors.too_much().locate(command.place)
            about = description_of(command.comments, key)
            facts[key] = ArgFact(name=key, value=value, description=about, place=command.place, uses=uses)
            if value is not None:
                out.pop(key, None)
                out[key] = value
    return out, facts


async def convert(request: Request, platform: Platform | None) -> Converted:
    """Lower what the target needs.

    Raises:
        ProgramError: the program is wrong, or an image cannot be found.
    """
    options = request.options
    target_platform = platform or options.build_platforms[0]
    predefined = platforms.predefined_args(
        options.build_platforms[0], target_platform, options.target, options.build_args
    )
    _tell_file(request, predefined)
    declared = frozenset(str(key) for command in request.program.args for key, _ in command.args)
    missing: list[ProgramError] = []
    try:
        conversion = await _conversion(request, platform, target_platform, predefined)
        stages = Stages(conversion=conversion, contexts=request.contexts, declared=declared)
        target, needed = await _target(stages, request, missing)
    except ProgramError as error:
        request.facts.failed()
        error.add(later_errors(request.program.stages))
        raise
    conversion.matcher = _matcher(await request.contexts.ignored())
    conversion.context = await request.contexts.main(conversion.context_paths)
    collector = ErrorCollector(conversion.facts.failed)
    with no_garbage():
        for state in stages.states:
            if state in needed and not state.lowered:
                lower_stage(state, collector)
    if missing:
        missing[0].add(one for error in (*missing[1:], *collector.errors) for one in error.diagnostics)
        missing[0].add(later_errors(request.program.stages))
        raise missing[0]
    collector.raise_first()
    return _finish(stages, target, platform)


async def _target(
    stages: Stages, request: Request, missing: list[ProgramError]
) -> tuple[StageState, set[StageState]]:
    """Return the stage to build and those to lower, with their bases resolved and the triggers of these added.

    A tolerant request has the errors of images that cannot be reached in ``missing``.
    """
    with no_garbage():
        stages.add_all(request.program)
        target = stages.target(stages.conversion.options.target)
        stages.connect()
    while True:
        needed = stages.reachable(target)
        reachable = set(stages.states) if request.every_stage else needed
        await resolve_bases(stages, request.images, reachable, missing if request.tolerant else None)
        if not add_triggers(stages, needed):
            break
    return target, reachable


async def _conversion(
    request: Request,
    platform: Platform | None,
    target: Platform,
    predefined: Mapping[str, str],
) -> Conversion:
    options = request.options
    mode = Mode(escape=request.file.escape)
    build_args = dict(options.build_args)
    values, facts = global_args(request.program, predefined, build_args, mode)
    known = {key: value for key, value in values.items() if key != EPOCH}
    epoch = await resolve_epoch(
        request.program.stages,
        request.contexts,
        request.times,
        build_args,
        values,
        StageArgs(known=known, build_args=options.build_args, mode=mode),
    )
    return Conversion(
        options=options,
        escape=request.file.escape,
        text=request.text,
        facts=request.facts,
        target=target,
        implicit=platform is None,
        build_args=build_args,
        global_args=values,
        declared_args=facts,
        epoch=epoch,
        tells_words=request.facts.wants(WordExpanded),
    )


def _matcher(patterns: tuple[str, ...]) -> PatternMatcher | None:
    if not patterns:
        return None
    try:
        matcher = PatternMatcher(patterns)
    except PatternError as error:
        raise common.ignore_pattern(str(error)) from None
    return None if matcher.has_exclusions else matcher


def _finish(stages: Stages, target: StageState, platform: Platform | None) -> Converted:
    conversion = stages.conversion
    options = conversion.options
    target.built.paths.add("/")
    reachable = stages.reachable(target)
    if conversion.facts.wants(TargetLowered):
        needed = [state.stage for state in stages.states if state in reachable and not state.implicit]
        conversion.facts.tell(TargetLowered(target.stage, target.built.state, conversion.target, needed))
    target.built.image.config.labels.update(options.labels)
    target.built.image.settle(platform)
    sbom: dict[str, State] = {}
    ignore_cache = target.ignore_cache
    if SCAN_CONTEXT in target.scans:
        sbom["context"] = conversion.context
    for state in stages.states:
        if state is not target and state in reachable and SCAN_STAGE in state.scans:
            sbom[state.name] = state.built.state
            ignore_cache = ignore_cache or state.ignore_cache
    return Converted(
        state=target.built.state,
        image=target.built.image,
        base_image=target.built.base_image,
        platform=platform,
        target_platform=conversion.target,
        epoch=conversion.epoch,
        ignore_cache=ignore_cache,
        sbom=sbom,
        stage=target,
    )
