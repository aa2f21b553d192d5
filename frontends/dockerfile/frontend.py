# SPDX-License-Identifier: Apache-2.0
"""The Dockerfile frontend: reads the program through a bridge and returns lazy results."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from llbkit.frontends.base import Bridge, BuildResult, PlatformResult
from llbkit.frontends.dockerfile import platforms, requests
from llbkit.frontends.dockerfile import requested as syntax
from llbkit.frontends.dockerfile.check.check import Findings, Linter
from llbkit.frontends.dockerfile.check.rulenames import unknown_rules
from llbkit.frontends.dockerfile.check.rules import no_empty_continuation
from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.errors.located import DockerfileError
from llbkit.frontends.dockerfile.inputs.contexts import Contexts
from llbkit.frontends.dockerfile.lower.bases import Images
from llbkit.frontends.dockerfile.lower.convert import Converted, Request, check_config, convert
from llbkit.frontends.dockerfile.lower.epoch import SourceTimes
from llbkit.frontends.dockerfile.options import Options, read_options
from llbkit.frontends.dockerfile.program.programs import read_program
from llbkit.frontends.dockerfile.syntax.ast import ParsedFile
from llbkit.frontends.dockerfile.syntax.recovery import parse_on
from llbkit.grammar import DiagnosticError
from llbkit.llb.builder.options import SourceText
from llbkit.llb.builder.state import State
from llbkit.llb.ir.ops import CDIDevice, Platform
from llbkit.llb.ir.walk import no_garbage

_EPOCH = "source.date.epoch"


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
        contexts = Contexts(bridge, self._options(bridge))
        if bridge.options.get("requestid") != requests.DESCRIBE:
            source, _ = await contexts.dockerfile()
            other = syntax.asked_for(bridge.options, source)
            if other is not None and not isinstance(other, DockerfileFrontend):
                return await other.build(bridge)
            if other is not None:
                return await replace(self, labs=self.labs or other.labs)._build(bridge, contexts)
        return await self._build(bridge, contexts)

    async def _build(self, bridge: Bridge, contexts: Contexts) -> BuildResult:
        contexts.options = self._options(bridge)
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
        contexts = contexts or Contexts(bridge, options)
        source, state = await contexts.dockerfile()
        findings = Findings()
        try:
            reading = _Reading(contexts, SourceText(source, state), findings)
            return await reading.convert([*options.platforms] or [None])
        finally:
            for warning in findings.warnings:
                await bridge.warn(warning)

    async def _answer(self, request: str, bridge: Bridge, contexts: Contexts) -> Mapping[str, bytes]:
        requests.check_id(request)
        if request == requests.DESCRIBE:
            return requests.describe()
        source, state = await contexts.dockerfile()
        text = SourceText(source, state)
        match request:
            case requests.TARGETS:
                return requests.targets(read_program(parse_on(source), Linter()), source)
            case requests.LINT:
                return await _lint(contexts, text, state)
        (converted,) = await _Reading(contexts, text, Findings()).convert([None])
        if request == requests.OUTLINE:
            stage = converted.stage.stage
            return requests.outline(stage.name, stage.comments, converted.outline, source)
        graph = converted.state.graph(platform=converted.target_platform, caps=bridge.caps)
        return requests.convert(graph)

    def _options(self, bridge: Bridge) -> Options:
        return read_options(
            bridge.options,
            bridge.build_platforms,
            bridge.caps,
            devices=self.devices,
            labs=self.labs,
        )


async def _lint(contexts: Contexts, text: SourceText, state: State) -> Mapping[str, bytes]:
    """Answer with what the rules find in the target's stages, or in all if no target is named."""
    findings = Findings()
    problem: DiagnosticError | None = None
    every_stage = not contexts.options.target
    reading = _Reading(contexts, text, findings, every_stage=every_stage)
    try:
        await reading.convert([None])
    except DiagnosticError as error:
        problem = error
    notes = list(unknown_rules(reading.file)) if reading.file is not None else []
    return requests.lint(findings.warnings, text.source, state.graph(), problem, notes)


@dataclass(slots=True)
class _Reading:
    """One Dockerfile on its way to states. ``every_stage`` lowers also what the target does not need.

    ``file`` is the file once it was parsed.
    """

    contexts: Contexts
    text: SourceText
    findings: Findings
    every_stage: bool = False
    file: ParsedFile | None = None

    async def convert(self, wanted: Sequence[Platform | None]) -> list[Converted]:
        """Lower for all platforms at once; only the first one's findings are kept."""
        source = self.text.source
        if not source.text:
            raise errors.empty_file()
        lint = Linter(check_config(source, self.contexts.options.check), self.findings)
        self.file = file = parse_on(source)
        no_empty_continuation.check(lint, file.warnings)
        with no_garbage():
            program = read_program(file, lint)
        if not program.stages:
            raise errors.no_stages()
        images = Images(self.contexts.bridge, self.contexts)
        times = SourceTimes(self.contexts.bridge)
        outcomes: dict[int, Converted | DockerfileError] = {}

        async def one(number: int, platform: Platform | None) -> None:
            muted = Findings(muted=True, fired=list(self.findings.fired))
            request = Request(
                file=file,
                program=program,
                text=self.text,
                bridge=self.contexts.bridge,
                contexts=self.contexts,
                images=images,
                times=times,
                lint=lint if number == 0 else Linter(lint.config, muted),
                every_stage=self.every_stage,
            )
            try:
                outcomes[number] = await convert(request, platform)
            except DockerfileError as error:
                outcomes[number] = error

        async with asyncio.TaskGroup() as group:
            for number, platform in enumerate(wanted):
                group.create_task(one(number, platform), name=f"convert for platform {number}")
        return [_unwrapped(outcomes[number]) for number in range(len(wanted))]


def _unwrapped(outcome: Converted | DockerfileError) -> Converted:
    if isinstance(outcome, DockerfileError):
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
