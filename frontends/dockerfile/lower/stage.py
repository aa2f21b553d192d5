# SPDX-License-Identifier: Apache-2.0
"""A stage while it is lowered, and what all stages of one platform share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import field, replace
from datetime import datetime
from functools import cache, partial

from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.facts import VariableUnset, WordExpanded
from llbkit.frontends.dockerfile.options import DockerfileOptions
from llbkit.frontends.dockerfile.outline import Outline
from llbkit.frontends.dockerfile.program.instructions import SCAN_ARGS, AnyInstruction, Instruction, Stage
from llbkit.frontends.dockerfile.program.words import Expansion, Mode, WordError, expand
from llbkit.frontends.dockerfile.syntax.words import where
from llbkit.frontends.kit import platforms
from llbkit.frontends.kit.errors.located import pointed
from llbkit.frontends.kit.errors.places import Place
from llbkit.frontends.kit.golang.text import format_time
from llbkit.frontends.kit.image import Image
from llbkit.frontends.kit.inputs.contexts import NamedContext
from llbkit.frontends.kit.lint.facts import Facts
from llbkit.frontends.kit.outline import ArgFact
from llbkit.grammar.patterns.match import PatternMatcher
from llbkit.llb.builder.options import At, SourceText
from llbkit.llb.builder.options import Options as StepOptions
from llbkit.llb.builder.state import State
from llbkit.llb.ir.graph import ProgressGroup
from llbkit.llb.ir.ops import Platform
from llbkit.records import dataclass

COMMAND = "com.docker.dockerfile.v1.command"
_HISTORY_COMMENT = "buildkit.dockerfile.v0"
MOST_TEXT = 1 << 28
"""How many characters one file may make of its variables, for one platform."""


@cache
def _mode(escape: str, raw: bool = False) -> Mode:
    return Mode(escape=escape, raw_quotes=raw, skip_unset_env=raw)


@dataclass(slots=True, kw_only=True)
class Conversion:
    """What all stages of one platform share.

    ``global_args`` are the arguments that FROM sees, ``declared_args`` where they are declared; ``context_paths`` fills up with what is read of ``context``,
    which is known once the stages are.
    ``matcher`` is None where nothing is ignored for certain.
    """

    options: DockerfileOptions
    escape: str
    text: SourceText
    facts: Facts
    target: Platform
    implicit: bool
    build_args: dict[str, str]
    global_args: dict[str, str]
    declared_args: Mapping[str, ArgFact]
    context: State = field(default_factory=State)
    context_paths: set[str] = field(default_factory=set)
    matcher: PatternMatcher | None = None
    epoch: datetime | None = None
    room: int = field(default_factory=lambda: MOST_TEXT)
    """How many characters may still be made of variables, ranges and environments."""

    def charge(self, length: int) -> None:
        """Count characters that are made.

        Raises:
            ProgramError: they have become too many: a file may double a value with each line.
        """
        self.room -= length
        if self.room < 0:
            raise errors.too_much()

    @property
    def mode(self) -> Mode:
        """How words are read."""
        return _mode(self.escape)

    @property
    def created(self) -> str:
        """The time of history entries; "" if none is fixed."""
        return format_time(self.epoch) if self.epoch is not None else ""

    @property
    def created_ns(self) -> int:
        """The time of files that instructions make; -1 is now. Beyond 64 bits (the year 2262) it wraps, as in BuildKit."""
        if self.epoch is None:
            return -1
        return (int(self.epoch.timestamp()) * 10**9 + (1 << 63)) % (1 << 64) - (1 << 63)

    def at(self, place: Place) -> list[At]:
        """Return where a step comes from; a place without lines is recorded too."""
        return [At(self.text, place.lines)]


@dataclass(slots=True, eq=False)
class Step:
    """An instruction with the stages it names (None: the build context), and whether a base image triggered it."""

    instruction: AnyInstruction
    sources: list[StageState] = field(default_factory=list)
    onbuild: bool = False


@dataclass(slots=True, eq=False, kw_only=True)
class StageState:
    """A stage of the file, or an image that an instruction names (``implicit``, with no instructions)."""

    conversion: Conversion
    stage: Stage
    base_name: str
    name: str
    platform: Platform | None = None
    implicit: bool = False
    context: NamedContext | None = None
    base: StageState | None = None
    steps: list[Step] = field(default_factory=list)
    needs: dict[StageState, Place] = field(default_factory=dict)
    ignore_cache: bool = False
    total: int = 0
    index: int = 0
    needed: bool = False
    resolved: bool = False
    lowered: bool = False
    triggered: bool = False
    state: State = field(default_factory=State)
    image: Image = field(default_factory=Image)
    base_image: Image | None = None
    unknown_base: str = ""
    env: dict[str, str] = field(default_factory=dict)
    new_env: dict[str, str] = field(default_factory=dict)
    args: list[tuple[str, str | None]] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)
    workdir_set: bool = False
    seen: dict[str, Instruction] = field(default_factory=dict)
    outline: Outline = field(default_factory=Outline)
    scan_context: bool = False
    scan_stage: bool = False

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
        if self.base is None:
            return
        self.state = self.base.state
        self.platform = self.base.platform
        self.image = self.base.image.clone()
        self.image.config.on_build = []
        self.base_image = self.base.base_image
        self.unknown_base = self.base.unknown_base
        self.env = dict(self.base.env)
        self.paths = self.base.paths
        self.workdir_set = self.base.workdir_set
        self.args = list(self.base.args)

    # -- settings

    def set_env(self, key: str, value: str) -> None:
        """Set a variable for the steps that follow; it moves to the end."""
        for known in (self.env, self.new_env):
            known.pop(key, None)
            known[key] = value

    def seal_env(self) -> None:
        """Give the state the variables that were set since the last time: once for many, as each copies them all."""
        if self.new_env:
            self.state = self.state.envs(self.new_env)
            self.new_env.clear()

    def commit(self, text: str, *, layer: bool = False, changed: bool = False) -> None:
        """Add a history entry; one that ``changed`` files is marked as BuildKit's."""
        if changed:
            text += " # buildkit"
        self.image.commit(
            text, layer=layer or changed, comment=_HISTORY_COMMENT, created=self.conversion.created
        )

    # -- words

    def expand(self, step: Step, word: str, *, mode: Mode | None = None) -> str:
        """Expand a word.

        Raises:
            ProgramError: the word is malformed.
        """
        seen, mode = Expansion(), mode or self.conversion.mode
        facts = self.conversion.facts
        try:
            text = expand(word, self.env, mode, seen=seen).text
            self.conversion.charge(len(text))
            if facts.wants(WordExpanded):
                facts.tell(WordExpanded(step.instruction, self.unknown_base, word, seen))
            return text
        except WordError as error:
            with pointed(partial(where, word)):
                raise errors.word(str(error)) from None
        finally:
            if seen.unmatched:
                declared = {key for key, _ in self.args}
                for name in sorted(seen.unmatched - SCAN_ARGS):
                    facts.tell(
                        VariableUnset(
                            step.instruction, self.unknown_base, word, name, name in declared, self.env, mode
                        )
                    )

    def expand_all(self, step: Step, words: Iterable[str]) -> list[str]:
        """Expand words, one after the other. Raises ProgramError."""
        return [self.expand(step, word) for word in words]

    def display_text(self, text: str, *, raw: bool = False, env: Mapping[str, str] | None = None) -> str:
        """Return an instruction's text for display, its word in upper case and its variables expanded.

        A malformed text stays as it is. ``raw`` keeps quotes and variables that are not set.
        """
        mode = _mode(self.conversion.escape, raw)
        with suppress(WordError):
            text = expand(text, self.env if env is None else env, mode).text
            self.conversion.charge(len(text))
        head, space, rest = text.partition(" ")
        return head.upper() + space + rest

    # -- names

    def numbered(
        self,
        text: str,
        platform: Platform | None,
        env: Mapping[str, str],
        *,
        onbuild: bool = False,
    ) -> str:
        """Return a step's display name and count the step."""
        if self.total == 0:
            return text
        out = "["
        if self.conversion.options.multi_platform and platform is not None:
            out += platforms.format_all(platform) + _built_for(platform, env) + " "
        if self.name:
            out += self.name + " "
        self.index += 1
        out += f"{self.index:>{int(1 + math.log10(self.total))}}/{self.total}] "
        return out + ("ONBUILD " if onbuild else "") + text

    def step_options(self, step: Step, name: str) -> StepOptions:
        """Return the options of an instruction's step."""
        options: StepOptions = {
            "name": name,
            "at": self.conversion.at(step.instruction.place),
        }
        if self.ignore_cache:
            options["ignore_cache"] = True
        return options


def _built_for(base: Platform, env: Mapping[str, str]) -> str:
    """Return how the platform that a step builds for, as its arguments say, differs from the one it runs on."""
    wanted = _platform_of(env)
    if wanted is None:
        return ""
    wanted = platforms.normalize(
        replace(
            wanted,
            os=wanted.os or base.os,
            architecture=wanted.architecture or base.architecture,
        )
    )
    machine = "/".join(part for part in (wanted.architecture, wanted.variant) if part)
    if wanted.os != base.os:
        return f"->{wanted.os}/{machine}"
    if wanted.architecture != base.architecture:
        return f"->{machine}"
    return f"->{wanted.variant}" if wanted.variant != base.variant else ""


def _platform_of(env: Mapping[str, str]) -> Platform | None:
    known = {key: env[key] for key in ("TARGETOS", "TARGETARCH", "TARGETVARIANT") if key in env}
    if "TARGETPLATFORM" in env:
        try:
            return platforms.parse(env["TARGETPLATFORM"])
        except platforms.SpecifierError:
            pass
    if not known:
        return None
    return Platform(
        os=known.get("TARGETOS", ""),
        architecture=known.get("TARGETARCH", ""),
        variant=known.get("TARGETVARIANT", ""),
    )


def progress_groups(identity: str, name: str) -> tuple[ProgressGroup, ProgressGroup]:
    """Return the group of a linked copy: as its file step is in it, and as its merge is."""
    return ProgressGroup(id=identity, name=name, weak=True), ProgressGroup(id=identity, name=name)
