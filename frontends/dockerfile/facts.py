# SPDX-License-Identifier: Apache-2.0
"""What reading and lowering a Dockerfile tell: the facts that rules hear, in the order in which BuildKit finds them.

The words in them know where they stand (`llbkit.frontends.dockerfile.syntax.words.where`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache

from llbkit.frontends.dockerfile.program.instructions import (
    AnyInstruction,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Instruction,
    Label,
    Onbuild,
    Pair,
    Program,
    Run,
    Stage,
    Workdir,
)
from llbkit.frontends.dockerfile.program.mounts import Mount
from llbkit.frontends.dockerfile.program.words import PLAIN, Expansion, Mode, VariableUse, references
from llbkit.frontends.dockerfile.syntax.ast import Node, ParseWarning
from llbkit.frontends.dockerfile.syntax.words import Word, where
from llbkit.frontends.kit.errors.places import Place
from llbkit.frontends.kit.lint.facts import Fact
from llbkit.frontends.kit.values.ports import PortWord
from llbkit.grammar import Span
from llbkit.grammar.patterns.match import PatternMatcher
from llbkit.llb.builder.state import State
from llbkit.llb.ir.ops import Platform
from llbkit.records import dataclass


def variable_span(word: str, name: str, mode: Mode = PLAIN) -> Span | None:
    """Return where a variable first stands in a word; all of the word if that is not clear."""
    found = _first_references(word, mode).get(name) if isinstance(word, Word) else None
    if found is None:
        return where(word)
    assert isinstance(word, Word), "others have no references"
    return word.range_span(found.start, found.end)


@lru_cache(maxsize=4)
def _first_references(word: str, mode: Mode) -> Mapping[str, VariableUse]:
    """Return the variables of a word by name; kept, as all that have no value are asked for one after the other."""
    return {found.name: found for found in reversed(references(word, mode))}


# -- while the file is read


@dataclass(frozen=True, slots=True)
class ParserWarned(Fact):
    """The parser took something that it should not have to."""

    warning: ParseWarning

    @property
    def place(self) -> Place:
        """The lines that it names."""
        return Place.of_lines(self.warning.span, *self.warning.lines)


@dataclass(frozen=True, slots=True)
class InstructionSeen(Fact):
    """An instruction stands in the file; what it says may still be wrong."""

    node: Node
    word: str
    """Its keyword in lower case."""

    @property
    def keyword(self) -> str:
        """The instruction."""
        return self.word

    @property
    def place(self) -> Place:
        """All its lines."""
        return self.node.place

    @property
    def comments(self) -> tuple[str, ...]:
        """The comments above it."""
        return self.node.prev_comment


@dataclass(frozen=True, slots=True)
class InstructionFact(Fact):
    """A fact about an instruction that could be read."""

    instruction: Instruction

    @property
    def place(self) -> Place:
        """Its lines; those of FROM if a base image triggered it."""
        return self.instruction.place

    @property
    def comments(self) -> tuple[str, ...]:
        """The comments above it."""
        return self.instruction.comments


@dataclass(frozen=True, slots=True)
class InstructionRead(InstructionFact):
    """An instruction was read; nothing is expanded yet."""

    instruction: AnyInstruction | Stage
    word: str
    """Its keyword in lower case."""

    @property
    def keyword(self) -> str:
        """The instruction."""
        return self.word


@dataclass(frozen=True, slots=True)
class TriggerRead(InstructionFact):
    """The instruction inside an ONBUILD was read; one that is wrong fails where it is triggered, and is not told."""

    instruction: Onbuild
    trigger: AnyInstruction

    @property
    def keyword(self) -> str:
        """The instruction inside."""
        return self.trigger.keyword.lower()


# -- when the whole file was read


@dataclass(frozen=True, slots=True)
class StageNamed(InstructionFact):
    """A stage and what it is called, "" for nothing."""

    instruction: Stage


@dataclass(frozen=True, slots=True)
class ProgramRead(Fact):
    """All stages of the file."""

    program: Program


@dataclass(frozen=True, slots=True)
class DefaultBase(InstructionFact):
    """What the base of a stage is called if the build gives no arguments."""

    instruction: Stage
    name: str


# -- when bases are looked at


@dataclass(frozen=True, slots=True)
class FromVariableUnset(InstructionFact):
    """A word of FROM uses a variable without a value; ``known`` are all that may be used there."""

    instruction: Stage
    word: str
    name: str
    known: Collection[str]

    @property
    def span(self) -> Span | None:
        """Where the variable stands."""
        return variable_span(self.word, self.name)


@dataclass(frozen=True, slots=True)
class PlatformExpanded(InstructionFact):
    """The ``--platform`` of a FROM; ``values`` are the global arguments."""

    instruction: Stage
    expansion: Expansion
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BaseResolved(InstructionFact):
    """The base image of a stage is known: as it is written, and its platform, which the stage did or did not ask for."""

    instruction: Stage
    name: str
    expected: Platform
    actual: Platform
    empty: bool


@dataclass(frozen=True, slots=True)
class BaseUnresolved(InstructionFact):
    """The base image of a stage cannot be reached; the stage is looked at without what it says."""

    instruction: Stage
    name: str
    cause: str

    @property
    def base(self) -> str:
        """The image."""
        return self.name


# -- while stages are lowered


@dataclass(frozen=True, slots=True)
class StepFact(InstructionFact):
    """A fact about an instruction in a stage, whose ``unknown_base`` is the image that could not be reached."""

    unknown_base: str

    @property
    def base(self) -> str:
        """The image that could not be reached; "" if all is known."""
        return self.unknown_base


@dataclass(frozen=True, slots=True)
class WordExpanded(StepFact):
    """A word was expanded."""

    word: str
    expansion: Expansion


@dataclass(frozen=True, slots=True)
class VariableUnset(StepFact):
    """A word uses a variable without a value, which an ARG may have ``declared``; ``known`` are those with one."""

    word: str
    name: str
    declared: bool
    known: Collection[str]
    mode: Mode

    @property
    def span(self) -> Span | None:
        """Where the variable stands."""
        return variable_span(self.word, self.name, self.mode)


@dataclass(frozen=True, slots=True)
class ArgDeclared(StepFact):
    """An ARG of a stage names an argument."""

    instruction: Arg
    key: str


@dataclass(frozen=True, slots=True)
class PairSet(StepFact):
    """An ENV or LABEL sets a key, which is expanded here."""

    instruction: Env | Label
    pair: Pair
    key: str


@dataclass(frozen=True, slots=True)
class ProcessSet(StepFact):
    """A CMD, ENTRYPOINT or HEALTHCHECK, the ``earlier`` one of its kind in the stage, and whether a shell was chosen."""

    instruction: Cmd | Entrypoint | Healthcheck
    earlier: Instruction | None
    has_shell: bool


@dataclass(frozen=True, slots=True)
class PortExposed(StepFact):
    """One port of an EXPOSE, after expansion, and the word that it came of."""

    instruction: Expose
    port: PortWord
    word: str


@dataclass(frozen=True, slots=True)
class WorkdirEntered(StepFact):
    """A WORKDIR, after expansion; ``first`` is one with none before it in the file's chain of stages."""

    instruction: Workdir
    path: str
    absolute: bool
    first: bool


@dataclass(frozen=True, slots=True)
class ContextCopied(StepFact):
    """A source of COPY or ADD in the build context, after expansion, and the word that it came of.

    ``ignored`` is None if nothing is ignored for certain.
    """

    instruction: Copy
    source: str
    word: str
    ignored: PatternMatcher | None


@dataclass(frozen=True, slots=True)
class TargetLowered(InstructionFact):
    """The target is lowered: its state, of which a graph can be made, its platform, and the stages that it needs."""

    instruction: Stage
    state: State
    platform: Platform
    needed: Collection[Stage]


@dataclass(frozen=True, slots=True)
class MountSeen(StepFact):
    """A mount of RUN, after expansion."""

    instruction: Run
    mount: Mount
