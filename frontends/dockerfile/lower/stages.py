# SPDX-License-Identifier: Apache-2.0
"""The stages of a file and the images they name: their dependencies, and what the target needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, replace
from functools import partial

from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.facts import FromVariableUnset, PlatformExpanded
from llbkit.frontends.dockerfile.lower.conversion import Conversion
from llbkit.frontends.dockerfile.lower.naming import StepNames
from llbkit.frontends.dockerfile.lower.stage import StageState, Step
from llbkit.frontends.dockerfile.outline import Outline
from llbkit.frontends.dockerfile.program.instructions import (
    AnyInstruction,
    Copy,
    Program,
    Run,
    Stage,
    Workdir,
)
from llbkit.frontends.dockerfile.program.words import Expansion, WordError, expand
from llbkit.frontends.dockerfile.syntax.words import where
from llbkit.frontends.kit import platforms
from llbkit.frontends.kit.errors.located import ErrorCollector, pointed
from llbkit.frontends.kit.errors.places import NOWHERE, Place
from llbkit.frontends.kit.golang.text import parse_int
from llbkit.frontends.kit.images import SCRATCH
from llbkit.frontends.kit.inputs.contexts import Contexts
from llbkit.llb.ir.ops import Platform
from llbkit.records import dataclass


@dataclass(slots=True, kw_only=True)
class Stages:
    """All stages, those of the file first. ``declared`` are the names of the global arguments.

    ``resolved`` are those whose bases were looked up, ``triggered`` those that have the triggers of their bases.
    """

    conversion: Conversion
    contexts: Contexts
    declared: frozenset[str]
    states: list[StageState] = field(default_factory=list)
    resolved: set[StageState] = field(default_factory=set)
    triggered: set[StageState] = field(default_factory=set)
    _named: dict[str, StageState] = field(default_factory=dict)

    def add_all(self, program: Program) -> None:
        """Add the stages of a file, with their bases and platforms expanded.

        Raises:
            ProgramError: a base or platform is malformed.
        """
        collector = ErrorCollector(self.conversion.facts.failed)
        for number, stage in enumerate(program.stages):
            with collector.collected():
                self._add_stage(number, stage)
        collector.raise_first()

    def connect(self) -> None:
        """Find what every instruction names.

        Raises:
            ProgramError: a name cannot be one, or a stage needs itself.
        """
        collector = ErrorCollector(self.conversion.facts.failed)
        for state in list(self.states):
            for command in state.stage.commands:
                with collector.collected():
                    state.steps.append(self.step(state, command))
        with collector.collected():
            self._check_circles()
        collector.raise_first()
        if len(self.states) == 1:
            self.states[0].names.stage = ""

    # -- adding

    def _names(self, stage: str) -> StepNames:
        return StepNames(stage=stage, several_platforms=self.conversion.options.multi_platform)

    def _add_stage(self, number: int, stage: Stage) -> None:
        with pointed(partial(where, stage.base)):
            base = self._word(stage, stage.base)
            if not base.text:
                raise errors.blank_base(stage.base).locate(stage.place)
        state = StageState(
            conversion=self.conversion,
            stage=stage,
            base_name=base.text,
            names=self._names(stage.name),
            ignore_cache=self.conversion.options.ignores_cache(stage.name),
        )
        used = set(base.matched)
        if stage.platform:
            state.platform, word = self._platform(stage)
            used |= word.matched
        state.outline = Outline.of_file(self.conversion.declared_args, used)
        if stage.name:
            state.context = self.contexts.named(stage.name, state.platform)
        if state.context is not None:
            self._add(state)
            state.base = None
            return
        state.names.stage = stage.name or f"stage-{number}"
        self._add(state)
        from_image = state.base_name != SCRATCH and state.base is None
        state.names.total = int(from_image) + sum(isinstance(c, Copy | Run | Workdir) for c in stage.commands)

    def _add(self, state: StageState) -> None:
        self.states.append(state)
        state.base = self._named.get(state.base_name)
        if state.stage.name:
            self._named[state.stage.name.lower()] = state

    def _word(self, stage: Stage, text: str, failure: str = "") -> Expansion:
        """Expand a word of FROM with the global arguments; an error begins with ``failure``."""
        seen = Expansion()
        try:
            return expand(text, self.conversion.global_args, self.conversion.mode, seen=seen)
        except WordError as error:
            raise errors.word(failure + str(error)).locate(stage.place) from None
        finally:
            for name in sorted(seen.unmatched):
                known = self.declared | self.conversion.global_args.keys()
                self.conversion.facts.tell(FromVariableUnset(stage, text, name, known))

    def _platform(self, stage: Stage) -> tuple[Platform, Expansion]:
        with pointed(partial(stage.flags.span, "platform")):
            return self._read_platform(stage)

    def _read_platform(self, stage: Stage) -> tuple[Platform, Expansion]:
        args = self.conversion.global_args
        word = self._word(stage, stage.platform, "failed to process arguments for platform : ")
        self.conversion.facts.tell(PlatformExpanded(stage, word, args))
        if not word.text:
            raise errors.empty_platform(stage.platform, word.unmatched, args).locate(stage.place)
        try:
            return platforms.parse(word.text), word
        except platforms.SpecifierError as error:
            found = errors.platform(stage.platform, str(error), word.unmatched, args, platforms.NAMES)
            raise found.locate(stage.place).locate(stage.place) from None

    # -- finding

    def target(self, name: str) -> StageState:
        """Return the stage to build: by name, or the last one.

        Raises:
            ProgramError: there is none.
        """
        if not name:
            return self.states[-1]
        found = self._named.get(name.lower())
        if found is None:
            raise errors.no_target(name, self.names)
        return found

    def by_name(self, name: str) -> StageState | None:
        """Return the last stage of a name, in any case."""
        return self._named.get(name.lower())

    @property
    def names(self) -> list[str]:
        """What the stages are called, in lower case: by their number if they have no name; a lone stage is not called."""
        return [state.name for state in self.states if state.name]

    def step(self, state: StageState, command: AnyInstruction, *, onbuild: bool = False) -> Step:
        """Return an instruction with what it names, and note that the stage needs it.

        Raises:
            ProgramError: a stage number is out of range, or a name holds a variable.
        """
        sources: list[StageState] = []
        if isinstance(command, Copy) and command.source_stage:
            sources = [self._copied(command)]
        elif isinstance(command, Run):
            sources = [self._source(m.source_stage or SCRATCH, NOWHERE) for m in command.mounts]
        for source in sources:
            state.needs[source] = command.place
            if source.implicit:
                self._add(source)
        return Step(command, sources, onbuild)

    def _copied(self, command: Copy) -> StageState:
        name = command.source_stage
        with pointed(partial(where, name)):
            return self._named_or_numbered(name, command.place)

    def _named_or_numbered(self, name: str, place: Place) -> StageState:
        number = parse_int(name)
        if number is None:
            if self.by_name(name) is None and "$" in name:
                raise errors.from_variable()
            return self._source(name, place)
        if not 0 <= number < len(self.states):
            raise errors.stage_index(number, len(self.states))
        return self.states[number]

    def _source(self, name: str, place: Place) -> StageState:
        found = self.by_name(name)
        if found is not None:
            return found
        stage = Stage(keyword="FROM", code="", place=place, base=name)
        return StageState(
            conversion=self.conversion,
            stage=stage,
            base_name=name,
            names=self._names(""),
            implicit=True,
        )

    # -- edges

    def _check_circles(self) -> None:
        """Raise if a stage needs itself, located at each instruction on the way round."""
        done: set[StageState] = set()
        for start in self.states:
            if start in done:
                continue
            path: list[tuple[StageState, Iterator[tuple[StageState, Place]]]] = []
            places: list[Place] = []
            path.append((start, iter(start.needs.items())))
            done.add(start)
            while path:
                found = next(path[-1][1], None)
                if found is None:
                    path.pop()
                    if places:
                        places.pop()
                    continue
                need, place = found
                if any(need is state for state, _ in path):
                    self._circle(start, [*places, place])
                if need not in done:
                    done.add(need)
                    path.append((need, iter(need.needs.items())))
                    places.append(place)

    @staticmethod
    def _circle(start: StageState, places: list[Place]) -> None:
        error = errors.circular(start.name)
        for place in places:
            error.locate(place)
        raise error

    def reachable(self, target: StageState) -> set[StageState]:
        """Return what a stage needs, itself included."""
        found: set[StageState] = set()
        pending = [target]
        while pending:
            state = pending.pop()
            if state in found:
                continue
            found.add(state)
            pending += state.needs
            if state.base is not None:
                pending.append(state.base)
        return found


def at_stage(command: AnyInstruction, state: StageState) -> AnyInstruction:
    """Return an instruction as if it stood where a stage's FROM stands."""
    return replace(command, place=state.place)
