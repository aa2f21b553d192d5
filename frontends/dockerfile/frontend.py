# SPDX-License-Identifier: Apache-2.0
"""The Dockerfile frontend: reads the program through a bridge and returns lazy results."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from llbkit.frontends.base import Bridge, BuildResult, PlatformResult
from llbkit.frontends.dockerfile import requested as syntax
from llbkit.frontends.dockerfile.check.check import Findings, Linter
from llbkit.frontends.dockerfile.check.rulenames import unknown_rules
from llbkit.frontends.dockerfile.check.rules import no_empty_continuation
from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.lower.bases import Images
from llbkit.frontends.dockerfile.lower.convert import Converted, Request, check_config, convert
from llbkit.frontends.dockerfile.lower.epoch import SourceTimes
from llbkit.frontends.dockerfile.options import FILENAME, DockerfileOptions, read_options
from llbkit.frontends.dockerfile.program.instructions import Program
from llbkit.frontends.dockerfile.program.programs import read_program
from llbkit.frontends.dockerfile.syntax.ast import ParsedFile
from llbkit.frontends.dockerfile.syntax.recovery import parse_on
from llbkit.frontends.kit import platforms, requests
from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.frontends.kit.inputs.contexts import Contexts, ProgramFile
from llbkit.frontends.kit.outline import TargetFact, description_of
from llbkit.grammar import DiagnosticError
from llbkit.llb.builder.options import SourceText
from llbkit.llb.ir.ops import CDIDevice, Platform
from llbkit.llb.ir.walk import no_garbage
from llbkit.records import dataclass

_EPOCH = "source.date.epoch"
_FILE = ProgramFile(name=FILENAME, language="Dockerfile", noun="dockerfile", spelling="dockerfile")


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerfileFrontend:
    """``docker/dockerfile`` in process. One object may build many times and concurrently.

    ``labs`` is the channel with ``RUN --device``; ``devices`` are given to every RUN.
    """

    labs: bool = False
    devices: Sequence[CDIDevice] = ()

    @property
    def name(self) -> str:
        """What ``--frontend`` says."""
        return "dockerfile.v0"

    async def build(self, bridge: Bridge) -> BuildResult:
        """Read the Dockerfile through ``bridge`` and return lazy results.

        Raises:
            grammar.DiagnosticError: the program is wrong, or an image cannot be found.
        """
        contexts = Contexts(bridge, self._options(bridge), _FILE)
        if bridge.options.get("requestid") != requests.DESCRIBE:
            text = await contexts.text()
            other = syntax.asked_for(bridge.options, text.source)
            if other is not None and not isinstance(other, DockerfileFrontend):
                return await other.build(bridge)
            if other is not None:
                return await replace(self, labs=self.labs or other.labs)._build(bridge, contexts)
        return await self._build(bridge, contexts)

    async def _build(self, bridge: Bridge, contexts: Contexts) -> BuildResult:
        requests.check_caps(bridge.options.get("frontend.caps", ""))
        if request := bridge.options.get("requestid", ""):
            return BuildResult(results=(), metadata=await self._answer(request, bridge, contexts))
        converted = await self.convert(bridge, contexts)
        results = [await _result(bridge, one) for one in converted]
        multi = self._options(bridge).multi_platform
        metadata = {
            f"{_EPOCH}/{result.id}" if multi else _EPOCH: str(int(one.epoch.timestamp())).encode()
            for one, result in zip(converted, results, strict=True)
            if one.epoch is not None
        }
        return BuildResult(results=tuple(results), multi=multi, metadata=metadata)

    async def convert(self, bridge: Bridge, contexts: Contexts | None = None) -> list[Converted]:
        """Read the Dockerfile and lower it for every wanted platform; warnings are reported, also before an error.

        ``contexts`` are those of the build, if they were looked into already. No other frontend is asked, whatever the
        Dockerfile says.

        Raises:
            grammar.DiagnosticError: the program is wrong, or an image cannot be found.
        """
        options = self._options(bridge)
        contexts = contexts or Contexts(bridge, options, _FILE)
        text = await contexts.text()
        findings = Findings()
        try:
            reading = _Reading(contexts, options, text, findings)
            return await reading.convert([*options.platforms] or [None])
        finally:
            for warning in findings.warnings:
                await bridge.warn(warning)

    async def _answer(self, request: str, bridge: Bridge, contexts: Contexts) -> Mapping[str, bytes]:
        requests.check_id(request)
        if request == requests.DESCRIBE:
            return requests.describe()
        text, options = await contexts.text(), self._options(bridge)
        match request:
            case requests.TARGETS:
                return requests.targets(_targets(read_program(parse_on(text.source), Linter())), text.source)
            case requests.LINT:
                return await _lint(contexts, options, text)
        (converted,) = await _Reading(contexts, options, text, Findings()).convert([None])
        if request == requests.OUTLINE:
            stage = converted.stage.stage
            about = description_of(stage.comments, stage.name)
            return requests.outline(stage.name, about, converted.outline, text.source)
        graph = converted.state.graph(platform=converted.target_platform, caps=bridge.caps)
        return requests.convert(graph)

    def _options(self, bridge: Bridge) -> DockerfileOptions:
        return read_options(bridge, devices=self.devices, labs=self.labs)


def _targets(program: Program) -> list[TargetFact]:
    """Return every stage in order; the last is the default."""
    return [
        TargetFact(
            name=stage.name,
            default=stage is program.stages[-1],
            place=stage.place,
            description=description_of(stage.comments, stage.name),
            base=stage.base,
            platform=stage.platform,
        )
        for stage in program.stages
    ]


async def _lint(contexts: Contexts, options: DockerfileOptions, text: SourceText) -> Mapping[str, bytes]:
    """Answer with what the rules find in the target's stages, or in all if no target is named."""
    findings = Findings()
    problem: DiagnosticError | None = None
    every_stage = not options.target
    reading = _Reading(contexts, options, text, findings, every_stage=every_stage)
    try:
        await reading.convert([None])
    except DiagnosticError as error:
        problem = error
    notes = list(unknown_rules(reading.file)) if reading.file is not None else []
    return requests.lint(findings.warnings, text, problem, notes)


@dataclass(slots=True)
class _Reading:
    """One Dockerfile on its way to states. ``every_stage`` lowers also what the target does not need.

    ``file`` is the file once it was parsed.
    """

    contexts: Contexts
    options: DockerfileOptions
    text: SourceText
    findings: Findings
    every_stage: bool = False
    file: ParsedFile | None = None

    async def convert(self, wanted: Sequence[Platform | None]) -> list[Converted]:
        """Lower for all platforms at once; only the first one's findings are kept."""
        source = self.text.source
        if not source.text:
            raise errors.empty_file()
        lint = Linter(check_config(source, self.options.check), self.findings)
        self.file = file = parse_on(source)
        no_empty_continuation.check(lint, file.warnings)
        with no_garbage():
            program = read_program(file, lint)
        if not program.stages:
            raise errors.no_stages()
        images = Images(self.contexts.bridge, self.contexts)
        times = SourceTimes(self.contexts.bridge)
        outcomes: dict[int, Converted | ProgramError] = {}

        async def one(number: int, platform: Platform | None) -> None:
            muted = Findings(muted=True, fired=list(self.findings.fired))
            request = Request(
                file=file,
                program=program,
                text=self.text,
                bridge=self.contexts.bridge,
                contexts=self.contexts,
                options=self.options,
                images=images,
                times=times,
                lint=lint if number == 0 else Linter(lint.config, muted),
                every_stage=self.every_stage,
            )
            try:
                outcomes[number] = await convert(request, platform)
            except ProgramError as error:
                outcomes[number] = error

        async with asyncio.TaskGroup() as group:
            for number, platform in enumerate(wanted):
                group.create_task(one(number, platform), name=f"convert for platform {number}")
        return [_unwrapped(outcomes[number]) for number in range(len(wanted))]


def _unwrapped(outcome: Converted | ProgramError) -> Converted:
    if isinstance(outcome, ProgramError):
        raise outcome
    return outcome


async def _result(bridge: Bridge, converted: Converted) -> PlatformResult:
    platform = converted.platform or converted.image.platform
    if not platform.os or not platform.architecture:
        platform = converted.target_platform
    platform = platforms.normalize(_extended(platform, converted.image.platform))
    return PlatformResult(
        id=platforms.format_all(platform),
        platform=platform,
        ref=await bridge.solve(converted.state, platform=converted.target_platform),
        config=converted.image.encode(),
        base_config=converted.base_image.encode() if converted.base_image is not None else None,
    )


def _extended(platform: Platform, image: Platform) -> Platform:
    """Return a Windows platform with the version and features of its image, where it was asked for without."""
    if platform.os != "windows" or image.os != "windows":
        return platform
    return replace(
        platform,
        os_version=platform.os_version or image.os_version,
        os_features=platform.os_features or image.os_features,
    )
