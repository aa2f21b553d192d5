# SPDX-License-Identifier: Apache-2.0
"""The base of a language: it says how its programs are read and lowered, and has everything else from here.

A language that gives `read`, `targets` and `lower` (and `rules`, if it has some) is a `llbkit.frontends.base.Frontend`: main,
named and remote contexts, ignore files, attributes, platforms, base images, errors at their place, and all subrequests.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import ClassVar, Generic, TypeVar

from llbkit.frontends.base import Bridge, BuildResult
from llbkit.frontends.kit.compilation import Compilation, LintReport
from llbkit.frontends.kit.errors import texts as errors
from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.frontends.kit.errors.places import Place
from llbkit.frontends.kit.inputs.contexts import Contexts
from llbkit.frontends.kit.inputs.epoch import NAME as EPOCH
from llbkit.frontends.kit.inputs.epoch import moment_of
from llbkit.frontends.kit.inputs.includes import Includes
from llbkit.frontends.kit.inputs.program import ProgramFile
from llbkit.frontends.kit.lint.facts import Facts
from llbkit.frontends.kit.lint.linter import Linter
from llbkit.frontends.kit.lint.rule import Rule
from llbkit.frontends.kit.options import read_options
from llbkit.frontends.kit.subrequests.outline import TargetFact, TargetOutline
from llbkit.frontends.kit.target import LoweredTarget, Target
from llbkit.grammar import Diagnostic, DiagnosticError, Source
from llbkit.llb.ir.ops import Platform
from llbkit.records import dataclass

ProgramT = TypeVar("ProgramT")


class Language(ABC, Generic[ProgramT]):
    """A language. One object may build many times and concurrently, so it keeps nothing of a program.

    ``name`` is what ``#syntax=`` and ``--frontend`` say; ``file`` is how its files are called.
    """

    name: ClassVar[str]
    file: ClassVar[ProgramFile]
    rules: ClassVar[Sequence[type[Rule]]] = ()
    """What looks at a program, in this order where several rules hear the same fact."""

    @abstractmethod
    def read(self, source: Source) -> ProgramT:
        """Return a program; its text is UTF-8. Raises DiagnosticError: it is not in the language."""

    async def assemble(self, source: Source, includes: Includes) -> ProgramT:
        """Return a program with what it includes, which is nothing if a language does not say otherwise.

        Raises:
            DiagnosticError: it is not in the language, or includes what cannot be read.
        """
        return self.read(source)

    @abstractmethod
    def targets(self, program: ProgramT) -> Sequence[TargetFact]:
        """Return what can be built, in order, at least one; the default one is marked."""

    @abstractmethod
    async def lower(self, program: ProgramT, target: Target) -> None:
        """Lower the target of that name by calling its methods. Raises DiagnosticError: the program is wrong."""

    def lint(self, program: ProgramT) -> Iterable[Diagnostic]:
        """Return warnings about a program, in its order: what the `rules` of the language find in the facts of `tell`."""
        linter = Linter(self.rules)
        self.tell(program, linter)
        return linter.findings.warnings

    def tell(self, program: ProgramT, facts: Facts) -> None:
        """Tell the facts of a program that its rules hear, in its order."""

    async def build(self, bridge: Bridge) -> BuildResult:
        """Read the program through ``bridge`` and return lazy results, or the answer to a subrequest.

        Raises:
            DiagnosticError: the program is wrong, or an image cannot be found.
        """
        options = read_options(bridge.options, bridge.build_platforms, bridge.caps, filename=self.file.name)
        compilation = Compilation.of(Contexts(bridge, options, self.file))
        return await compilation.run(_Work(self, compilation))


@dataclass(slots=True)
class _Work(Generic[ProgramT]):
    """A `Compiler` of any language: one program, read once, and what was found in it."""

    language: Language[ProgramT]
    compilation: Compilation
    warnings: Sequence[Diagnostic] = ()
    _program: list[ProgramT] = field(default_factory=list)
    _paths: set[str] = field(default_factory=set)

    async def program(self) -> ProgramT:
        if not self._program:
            text = await self.compilation.text()
            if (error := errors.not_text(text.source)) is not None:
                raise error
            program = await self.language.assemble(text.source, self.compilation.includes)
            self._program.append(program)
            self.warnings = tuple(self.language.lint(program))
        return self._program[0]

    async def targets(self) -> Sequence[TargetFact]:
        facts = self.language.targets(await self.program())
        known: dict[str, TargetFact] = {}
        for fact in facts:
            if (first := known.setdefault(fact.name, fact)) is not fact:
                raise errors.duplicate_target(fact.name, first.place).locate(fact.place)
        return facts

    def outline(self, lowered: LoweredTarget) -> TargetOutline:
        return lowered.outline

    async def lint(self) -> LintReport:
        problem: DiagnosticError | None = None
        try:
            facts = await self.targets()
            wanted = [self._chosen(facts)] if self.compilation.options.target else facts
            lowering = await self._lowering(None)
            for fact in wanted:
                await lowering.target(fact)
        except DiagnosticError as error:
            problem = _placed(error)
        return LintReport(warnings=self.warnings, error=problem)

    async def lower(self, wanted: Sequence[Platform | None]) -> Sequence[LoweredTarget]:
        """Lower for all platforms at once; the error of the first that has one is raised."""
        chosen = self._chosen(await self.targets())
        outcomes: dict[int, LoweredTarget | DiagnosticError] = {}

        async def one(number: int, platform: Platform | None) -> None:
            try:
                outcomes[number] = (await (await self._lowering(platform)).target(chosen)).finish()
            except DiagnosticError as error:
                outcomes[number] = error

        async with asyncio.TaskGroup() as group:
            for number, platform in enumerate(wanted):
                group.create_task(one(number, platform), name=f"lower for platform {number}")
        return [_unwrapped(outcomes[number]) for number in range(len(wanted))]

    def _chosen(self, facts: Sequence[TargetFact]) -> TargetFact:
        name = self.compilation.options.target
        for fact in facts:
            if fact.name == name if name else fact.default:
                return fact
        raise errors.no_target(name, [fact.name for fact in facts])

    async def _lowering(self, platform: Platform | None) -> _Lowering[ProgramT]:
        compilation, program = self.compilation, await self.program()
        value = compilation.options.build_args.get(EPOCH, "")
        return _Lowering(
            language=self.language,
            program=program,
            compilation=compilation,
            facts={fact.name: fact for fact in self.language.targets(program)},
            platform=platform,
            paths=self._paths,
            epoch=await moment_of(value, compilation.contexts, compilation.times),
        )


def _placed(error: DiagnosticError) -> DiagnosticError:
    """Return an error whose location is where it is shown, for clients that know lines only."""
    span = error.diagnostics[0].span
    if isinstance(error, ProgramError) and not error.locations and span is not None:
        error.locate(Place.covering(span))
    return error


def _unwrapped(outcome: LoweredTarget | DiagnosticError) -> LoweredTarget:
    if isinstance(outcome, DiagnosticError):
        raise outcome
    return outcome


@dataclass(slots=True, kw_only=True)
class _Lowering(Generic[ProgramT]):
    """The targets of a program for one platform, each lowered once."""

    language: Language[ProgramT]
    program: ProgramT
    compilation: Compilation
    facts: Mapping[str, TargetFact]
    platform: Platform | None
    paths: set[str]
    epoch: datetime | None
    _done: dict[str, Target] = field(default_factory=dict)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    _needs: dict[str, dict[str, None]] = field(default_factory=dict)

    async def target(self, fact: TargetFact) -> Target:
        async with self._locks.setdefault(fact.name, asyncio.Lock()):
            if fact.name not in self._done:
                target = Target(
                    compilation=self.compilation,
                    fact=fact,
                    language=self.language.name,
                    wanted=self.platform,
                    platform=self.platform or self.compilation.options.build_platforms[0],
                    paths=self.paths,
                    others=self._needed,
                    epoch=self.epoch,
                )
                await self.language.lower(self.program, target)
                self._done[fact.name] = target
            return self._done[fact.name]

    async def _needed(self, name: str, by: Target) -> Target | None:
        """A target's own name is that of what it replaces: an image or a context."""
        if name not in self.facts or name == by.name:
            return None
        # Looked at before anything waits: two targets that wait for each other would wait forever.
        self._needs.setdefault(by.name, {})[name] = None
        if circle := self._way(name, by.name):
            raise errors.circular([by.name, *circle])
        return await self.target(self.facts[name])

    def _way(self, start: str, goal: str) -> list[str]:
        """Return how a target needs another, both included; [] if it does not."""
        came: dict[str, str] = {start: ""}
        pending = [start]
        while pending:
            name = pending.pop()
            if name == goal:
                way = [name]
                while came[way[-1]]:
                    way.append(came[way[-1]])
                return way[::-1]
            for other in self._needs.get(name, ()):
                if other not in came:
                    came[other] = name
                    pending.append(other)
        return []
