# SPDX-License-Identifier: Apache-2.0
"""The Dockerfile frontend: reads the program through a bridge and returns lazy results."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from frontends.base import Bridge, BuildResult, PlatformResult
from frontends.dockerfile import errors, platforms, requests
from frontends.dockerfile.ast import ParsedFile
from frontends.dockerfile.check import Findings, Linter
from frontends.dockerfile.contexts import Contexts
from frontends.dockerfile.errors import DockerfileError
from frontends.dockerfile.instructions import Program
from frontends.dockerfile.lower.bases import Images
from frontends.dockerfile.lower.convert import Converted, Request, check_config, convert
from frontends.dockerfile.options import Options, read_options
from frontends.dockerfile.parse import parse
from frontends.dockerfile.reading import read_program
from frontends.dockerfile.rules import no_empty_continuation
from llb.ops import CDIDevice, Platform
from llb.options import SourceText


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
        if request := bridge.options.get("requestid", ""):
            return BuildResult(results=(), metadata=await self._answer(request, bridge))
        converted = await self.convert(bridge)
        results = [await _result(bridge, one) for one in converted]
        metadata = {}
        if epoch := converted[0].epoch:
            metadata["source.date.epoch"] = str(int(epoch.timestamp())).encode()
        multi = self._options(bridge).multi_platform
        return BuildResult(results=tuple(results), multi=multi, metadata=metadata)

    async def convert(self, bridge: Bridge) -> list[Converted]:
        """Read the Dockerfile and lower it for every wanted platform; warnings are reported, also before an error.

        Raises:
            grammar.DiagnosticError: the program is wrong, or an image cannot be found.
        """
        options = self._options(bridge)
        contexts = Contexts(bridge, options)
        source, state = await contexts.dockerfile()
        file = parse(source)
        config = check_config(file, options.check)
        findings = Findings()
        lint = Linter(config, findings)
        try:
            program = _program(file, lint)
            images = Images(bridge, contexts)
            text = SourceText(source, state)
            return await _convert_all(options, bridge, contexts, images, file, program, text, lint)
        finally:
            for warning in findings.warnings:
                await bridge.warn(warning)

    async def _answer(self, request: str, bridge: Bridge) -> Mapping[str, bytes]:
        requests.check_id(request)
        if request == requests.DESCRIBE:
            return requests.describe()
        options = self._options(bridge)
        contexts = Contexts(bridge, options)
        source, state = await contexts.dockerfile()
        if request == requests.TARGETS:
            return requests.targets(_program(parse(source), Linter()), source)
        findings = Findings()
        problem: DockerfileError | None = None
        try:
            file = parse(source)
            lint = Linter(check_config(file, options.check), findings)
            program = _program(file, lint)
            text = SourceText(source, state)
            images = Images(bridge, contexts)
            await _convert_all(options, bridge, contexts, images, file, program, text, lint)
        except DockerfileError as error:
            problem = error
        return requests.lint(findings.warnings, source, problem)

    def _options(self, bridge: Bridge) -> Options:
        return read_options(
            bridge.options,
            bridge.build_platforms,
            bridge.caps,
            devices=self.devices,
            labs=self.labs,
        )


def _program(file: ParsedFile, lint: Linter) -> Program:
    no_empty_continuation.check(lint, file.warnings)
    program = read_program(file, lint)
    if not program.stages:
        raise errors.no_stages()
    return program


async def _convert_all(
    options: Options,
    bridge: Bridge,
    contexts: Contexts,
    images: Images,
    file: ParsedFile,
    program: Program,
    text: SourceText,
    lint: Linter,
) -> list[Converted]:
    """Lower for all platforms at once; only the first one's findings are kept."""
    wanted: list[Platform | None] = [*options.platforms] or [None]
    outcomes: dict[int, Converted | DockerfileError] = {}

    async def one(number: int, platform: Platform | None) -> None:
        own = (
            lint
            if number == 0
            else Linter(lint.config, Findings(muted=True, fired=list(lint.findings.fired)))
        )
        request = Request(
            file=file,
            program=program,
            text=text,
            bridge=bridge,
            contexts=contexts,
            images=images,
            lint=own,
        )
        try:
            outcomes[number] = await convert(request, platform)
        except DockerfileError as error:
            outcomes[number] = error

    async with asyncio.TaskGroup() as group:
        for number, platform in enumerate(wanted):
            group.create_task(one(number, platform), name=f"convert for platform {number}")
    results: list[Converted] = []
    for number in range(len(wanted)):
        outcome = outcomes[number]
        if isinstance(outcome, DockerfileError):
            raise outcome
        results.append(outcome)
    return results


async def _result(bridge: Bridge, converted: Converted) -> PlatformResult:
    platform = converted.platform or converted.image.platform
    if not platform.os or not platform.architecture:
        platform = converted.target_platform
    platform = platforms.normalize(platform)
    return PlatformResult(
        id=platforms.format_all(platform),
        platform=platform,
        ref=await bridge.solve(converted.state, platform=converted.target_platform),
        config=converted.image.encode(),
        base_config=converted.base_image.encode() if converted.base_image is not None else None,
    )
