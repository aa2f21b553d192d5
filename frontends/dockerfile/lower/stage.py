# SPDX-License-Identifier: Apache-2.0
"""A stage while it is lowered: what the file says of it, and what its instructions made so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import field
from functools import partial

from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.facts import VariableUnset, WordExpanded
from llbkit.frontends.dockerfile.lower.conversion import Conversion, mode_of
from llbkit.frontends.dockerfile.lower.naming import StepNames
from llbkit.frontends.dockerfile.lower.variables import Variables
from llbkit.frontends.dockerfile.outline import Outline
from llbkit.frontends.dockerfile.program.instructions import SCAN_ARGS, AnyInstruction, Instruction, Stage
from llbkit.frontends.dockerfile.program.words import Expansion, Mode, WordError, expand
from llbkit.frontends.dockerfile.syntax.words import where
from llbkit.frontends.kit.errors.located import pointed
from llbkit.frontends.kit.errors.places import Place
from llbkit.frontends.kit.image import Image
from llbkit.frontends.kit.inputs.contexts import NamedContext
from llbkit.llb.builder.options import Options as StepOptions
from llbkit.llb.builder.state import State
from llbkit.llb.ir.ops import Platform
from llbkit.records import dataclass

_HISTORY_COMMENT = "buildkit.dockerfile.v0"


@dataclass(slots=True, eq=False)
class Step:
    """An instruction with the stages it names (None: the build context), and whether a base image triggered it."""

    instruction: AnyInstruction
    sources: list[StageState] = field(default_factory=list)
    onbuild: bool = False


@dataclass(slots=True, kw_only=True)
class Built:
    """What the instructions so far made of a stage, and what a stage on it goes on from.

    ``base_image`` is the config of the image below as it was found; ``unknown_base`` names that image if it could not be reached.
    ``paths`` fills up with what is read of the stage, if it is a context. ``workdir_set``: a WORKDIR was there.
    """

    state: State = field(default_factory=State)
    image: Image = field(default_factory=Image)
    base_image: Image | None = None
    unknown_base: str = ""
    variables: Variables = field(default_factory=Variables)
    paths: set[str] = field(default_factory=set)
    workdir_set: bool = False

    def derived(self) -> Built:
        """Return what a stage on this one begins with."""
        image = self.image.clone()
        image.config.on_build = []
        return Built(
            state=self.state,
            image=image,
            base_image=self.base_image,
            unknown_base=self.unknown_base,
            variables=self.variables.derived(),
            paths=self.paths,
            workdir_set=self.workdir_set,
        )


@dataclass(slots=True, eq=False, kw_only=True)
class StageState:
    """A stage of the file, or an image that an instruction names (``implicit``, with no instructions).

    ``processes`` are the last CMD, ENTRYPOINT and HEALTHCHECK of this stage, ``scans`` the arguments that ask for its bill of
    materials.
    """

    conversion: Conversion
    stage: Stage
    base_name: str
    names: StepNames
    platform: Platform | None = None
    implicit: bool = False
    context: NamedContext | None = None
    base: StageState | None = None
    steps: list[Step] = field(default_factory=list)
    needs: dict[StageState, Place] = field(default_factory=dict)
    ignore_cache: bool = False
    lowered: bool = False
    built: Built = field(default_factory=Built)
    processes: dict[str, Instruction] = field(default_factory=dict)
    outline: Outline = field(default_factory=Outline)
    scans: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """What it is called; "" for a lone stage, and for an image."""
        return self.names.stage

    @property
    def env(self) -> dict[str, str]:
        """The variables that words see."""
        return self.built.variables.env

    @property
    def unknown_base(self) -> str:
        """The image below that could not be reached; "" if all is known."""
        return self.built.unknown_base

    @property
    def runs_on(self) -> Platform:
        """The platform that its steps run on."""
        return self.platform or self.conversion.target

    @property
    def place(self) -> Place:
        """Where its FROM stands."""
        return self.stage.place

    def begin(self) -> None:
        """Take over what the base stage left."""
        if self.base is not None:
            self.built = self.base.built.derived()
            self.platform = self.base.platform

    # -- settings

    def seal_env(self) -> None:
        """Give the state the variables that were set."""
        self.built.state = self.built.variables.sealed(self.built.state)

    def commit(self, text: str, *, layer: bool = False, changed: bool = False) -> None:
        """Add a history entry; one that ``changed`` files is marked as BuildKit's."""
        if changed:
            text += " # buildkit"
        self.built.image.commit(
            text, layer=layer or changed, comment=_HISTORY_COMMENT, created=self.conversion.created
        )

    # -- words

    def expand(self, step: Step, word: str, *, mode: Mode | None = None) -> str:
        """Expand a word.

        Raises:
            ProgramError: the word is malformed.
        """
        seen, mode = Expansion(), mode or self.conversion.mode
        try:
            text = expand(word, self.built.variables.env, mode, seen=seen).text
            self.conversion.charge(len(text))
            if word and self.conversion.tells_words:
                self.conversion.facts.tell(WordExpanded(step.instruction, self.unknown_base, word, seen))
            return text
        except WordError as error:
            with pointed(partial(where, word)):
                raise errors.word(str(error)) from None
        finally:
            if seen.unmatched:
                self._tell_unset(step, word, seen.unmatched, mode)

    def _tell_unset(self, step: Step, word: str, names: set[str], mode: Mode) -> None:
        declared = {key for key, _ in self.built.variables.args}
        for name in sorted(names - SCAN_ARGS):
            fact = VariableUnset(
                step.instruction, self.unknown_base, word, name, name in declared, self.env, mode
            )
            self.conversion.facts.tell(fact)

    def expand_all(self, step: Step, words: Iterable[str]) -> list[str]:
        """Expand words, one after the other. Raises ProgramError."""
        return [self.expand(step, word) for word in words]

    def display_text(self, text: str, *, raw: bool = False, env: Mapping[str, str] | None = None) -> str:
        """Return an instruction's text for display, its word in upper case and its variables expanded.

        A malformed text stays as it is. ``raw`` keeps quotes and variables that are not set.
        """
        mode = mode_of(self.conversion.escape, raw)
        with suppress(WordError):
            text = expand(text, self.env if env is None else env, mode).text
            self.conversion.charge(len(text))
        head, space, rest = text.partition(" ")
        return head.upper() + space + rest

    # -- steps

    def step_options(self, step: Step, name: str) -> StepOptions:
        """Return the options of an instruction's step."""
        options: StepOptions = {
            "name": name,
            "at": self.conversion.at(step.instruction.place),
        }
        if self.ignore_cache:
            options["ignore_cache"] = True
        return options
