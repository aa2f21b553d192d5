# SPDX-License-Identifier: Apache-2.0
"""The Dockerfile frontend: reads the program through a bridge and returns lazy results."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import field

from llbkit.frontends.base import Bridge, BuildResult
from llbkit.frontends.dockerfile.check.directive import check_config, unknown_rules
from llbkit.frontends.dockerfile.check.profiles import BUILDKIT
from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.lower.convert import Converted, Request, convert
from llbkit.frontends.dockerfile.options import FILENAME, DockerfileOptions, read_options
from llbkit.frontends.dockerfile.program.instructions import Program
from llbkit.frontends.dockerfile.program.programs import read_program
from llbkit.frontends.dockerfile.syntax.ast import ParsedFile
from llbkit.frontends.dockerfile.syntax.recovery import parse_on
from llbkit.frontends.kit.compilation import Compilation, LintReport
from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.frontends.kit.inputs.contexts import Contexts
from llbkit.frontends.kit.inputs.program import ProgramFile
from llbkit.frontends.kit.lint.facts import NOBODY
from llbkit.frontends.kit.lint.linter import Findings, Linter
from llbkit.frontends.kit.subrequests.outline import TargetFact, TargetOutline, description_of
from llbkit.grammar import Diagnostic, DiagnosticError
from llbkit.llb.ir.ops import CDIDevice, Platform
from llbkit.llb.ir.walk import no_garbage
from llbkit.records import dataclass

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
        compilation = self._compilation(bridge)
        return await compilation.run(self._reading(compilation))

    async def convert(self, bridge: Bridge) -> Sequence[Converted]:
        """Read the Dockerfile and lower it for every wanted platform; warnings are reported, also before an error.

        No other frontend is asked, whatever the Dockerfile says.

        Raises:
            grammar.DiagnosticError: the program is wrong, or an image cannot be found.
        """
        compilation = self._compilation(bridge)
        return await compilation.lower(self._reading(compilation))

    def _compilation(self, bridge: Bridge) -> Compilation:
        return Compilation.of(Contexts(bridge, self._options(bridge), _FILE))

    def _reading(self, compilation: Compilation) -> _Reading:
        return _Reading(compilation, self._options(compilation.bridge))

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


@dataclass(slots=True)
class _Reading:
    """One Dockerfile on its way to states. ``file`` is the file once it was parsed."""

    compilation: Compilation
    options: DockerfileOptions
    findings: Findings = field(default_factory=Findings)
    file: ParsedFile | None = None

    @property
    def warnings(self) -> Sequence[Diagnostic]:
        """What the rules found so far."""
        return self.findings.warnings

    async def targets(self) -> Sequence[TargetFact]:
        """Return the stages."""
        text = await self.compilation.text()
        return _targets(read_program(parse_on(text.source), NOBODY))

    def outline(self, lowered: Converted) -> TargetOutline:
        """Return what a target takes from outside."""
        return lowered.outline

    async def lint(self) -> LintReport:
        """Return what the rules find in the target's stages, or in all if no target is named."""
        problem: DiagnosticError | None = None
        try:
            await self.lower([None], every_stage=not self.options.target, tolerant=True)
        except DiagnosticError as error:
            problem = error
        notes = [*self.findings.notes(), *(unknown_rules(self.file) if self.file is not None else ())]
        return LintReport(warnings=self.findings.warnings, error=problem, notes=notes)

    async def lower(
        self, wanted: Sequence[Platform | None], *, every_stage: bool = False, tolerant: bool = False
    ) -> Sequence[Converted]:
        """Lower for all platforms at once; only the first one's findings are kept.

        ``every_stage`` lowers also what the target does not need; ``tolerant`` goes on without images that cannot be reached,
        and fails in the end.
        """
        text = await self.compilation.text()
        source = text.source
        if not source.text:
            raise errors.empty_file()
        lint = Linter(BUILDKIT, check_config(source, self.options.check), self.findings)
        self.file = file = parse_on(source)
        with no_garbage():
            program = read_program(file, lint)
        if not program.stages:
            raise errors.no_stages()
        outcomes: dict[int, Converted | ProgramError] = {}

        async def one(number: int, platform: Platform | None) -> None:
            facts = lint if number == 0 else self._counting(lint)
            request = Request(
                file=file,
                program=program,
                text=text,
                bridge=self.compilation.bridge,
                contexts=self.compilation.contexts,
                options=self.options,
                images=self.compilation.images,
                times=self.compilation.times,
                facts=facts,
                every_stage=every_stage,
                tolerant=tolerant,
            )
            try:
                converted = await convert(request, platform)
                facts.fail_on_findings()
                outcomes[number] = converted
            except ProgramError as error:
                outcomes[number] = error

        async with asyncio.TaskGroup() as group:
            for number, platform in enumerate(wanted):
                group.create_task(one(number, platform), name=f"convert for platform {number}")
        return [_unwrapped(outcomes[number]) for number in range(len(wanted))]

    def _counting(self, lint: Linter) -> Linter:
        """Return a linter for a further platform: its findings fail the build if that is asked for, but are not kept."""
        muted = Findings(muted=True, fired=list(self.findings.fired))
        return Linter(BUILDKIT if lint.config.error else (), lint.config, muted)


def _unwrapped(outcome: Converted | ProgramError) -> Converted:
    if isinstance(outcome, ProgramError):
        raise outcome
    return outcome
