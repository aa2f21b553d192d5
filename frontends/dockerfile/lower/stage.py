# SPDX-License-Identifier: Apache-2.0
"""What is known of a stage while its instructions are lowered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType

from frontends.base import ResolveMode
from frontends.dockerfile.ast import Node
from frontends.dockerfile.errors import at, spans_of
from frontends.dockerfile.image import Image
from frontends.dockerfile.instructions import Copy, Instruction, Stage
from frontends.dockerfile.words import Expansion, Mode, WordError, expand
from llb import platform as platforms
from llb.graph import LinuxResources
from llb.ops import HostIP, Platform, ProxyEnv, Ulimit
from llb.options import At, SourceText
from llb.state import State

COMMAND = "com.docker.dockerfile.v1.command"
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(slots=True, kw_only=True)
class Options:
    """What the build's options mean for every stage of one platform."""

    escape: str
    text: SourceText
    build_args: Mapping[str, str]
    global_args: dict[str, str]
    target_platform: Platform
    build_platform: Platform
    implicit_target: bool
    multi: bool
    resolve_mode: ResolveMode
    epoch: int | None
    extra_hosts: tuple[HostIP, ...]
    ulimits: tuple[Ulimit, ...]
    shm_size: int
    cgroup_parent: str
    network: str
    hostname: str
    resources: LinuxResources | None
    proxy: ProxyEnv | None
    cache_namespace: str
    caps: frozenset[str] | None

    @property
    def created(self) -> str:
        """SOURCE_DATE_EPOCH as history entries write it; "" if it is not set."""
        return rfc3339(self.epoch) if self.epoch is not None else ""


def rfc3339(seconds: int) -> str:
    """Return a time as Go writes it."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True, eq=False, kw_only=True)
class StageState:
    """A stage: its place in the plan, and its state and image as far as they are lowered."""

    stage: Stage
    name: str
    platform: Platform | None
    options: Options
    base: StageState | None = None
    sources: dict[int, list[StageState | None]] = field(default_factory=dict)
    state: State = field(default_factory=State)
    image: Image = field(default_factory=lambda: Image.empty(platforms.default()))
    base_image: bytes | None = None
    fixed: bool = False
    empty: bool = False
    implicit: bool = False
    triggered: bool = False
    ignore_cache: bool = False
    index: int = 0
    total: int = 0
    args: list[tuple[str, str | None]] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)
    env: dict[str, str] = field(default_factory=dict)

    @property
    def target(self) -> Platform:
        """The platform that its steps run on."""
        return self.platform or self.options.target_platform

    def prefix(self, text: str) -> str:
        """Return a step's display name and count the step."""
        if self.triggered:
            text = f"ONBUILD {text}"
        if self.total == 0:
            return text
        out = "["
        if self.options.multi:
            out += self._platforms() + " "
        if self.name:
            out += self.name + " "
        self.index += 1
        width = int(1 + math.log10(self.total))
        return f"{out}{self.index:>{width}}/{self.total}] {text}"

    def _platforms(self) -> str:
        """Return the stage's platform and, where the stage asked for the target's, what that differs in."""
        own = self.target
        system, architecture = self.env.get("TARGETOS", own.os), self.env.get("TARGETARCH", own.architecture)
        wanted = platforms.normalize(Platform(os=system, architecture=architecture))
        with suppress(platforms.PlatformError):
            if "TARGETPLATFORM" in self.env:
                wanted = platforms.parse(self.env["TARGETPLATFORM"])
        shown = platforms.format(own)
        if wanted.os != own.os:
            return f"{shown}->{platforms.format(wanted)}"
        if wanted.architecture != own.architecture:
            return shown + "->" + "/".join(filter(None, (wanted.architecture, wanted.variant)))
        return shown

    def set_env(self, key: str, value: str) -> None:
        """Set a variable for the steps that follow."""
        self.env.pop(key, None)
        self.env[key] = value
        self.state = self.state.env(key, value)

    def expand(
        self, word: str, node: Node, env: Mapping[str, str] | None = None, mode: Mode | None = None
    ) -> str:
        """Expand a word in the stage's environment.

        Raises:
            DiagnosticError: the word is malformed.
        """
        return self.expansion(word, node, env, mode).text

    def expansion(
        self, word: str, node: Node, env: Mapping[str, str] | None = None, mode: Mode | None = None
    ) -> Expansion:
        """Expand a word and return all that is known of it. Raises DiagnosticError."""
        mode = mode or Mode(escape=self.options.escape)
        try:
            return expand(word, self.env if env is None else env, mode)
        except WordError as error:
            raise at(node, str(error), code="expansion") from None

    def shown(self, text: str, *, keep: bool = False, hidden: Mapping[str, str] = NOTHING) -> str:
        """Return an instruction's text for display: variables expanded where possible; raw if it is malformed.

        ``hidden`` are variables whose values are not shown as they are.
        """
        mode = Mode(escape=self.options.escape, raw_quotes=keep, skip_unset_env=keep)
        try:
            return expand(text, {**self.env, **hidden}, mode).text
        except WordError:
            return text

    def place(self, node: Node) -> list[At]:
        """Return where a step comes from; a trigger's step comes from the FROM that brings it in."""
        if self.triggered:
            node = self.stage.node
        lines = tuple((span.start_line, span.start_line) for span in spans_of(node))
        return [At(self.options.text, lines)]

    def commit(self, text: str, *, layer: bool) -> None:
        """Add a history entry; one that makes a layer is marked as BuildKit's."""
        self.image.commit(text, layer=layer, epoch=self.options.created)


def count_steps(stage: Stage, commands: Sequence[Instruction], *, from_image: bool) -> int:
    """Return how many numbered steps a stage has."""
    keywords = ("add", "copy", "run", "workdir")
    return int(from_image) + sum(command.node.keyword in keywords for command in commands)


def upper_command(text: str) -> str:
    """Return an instruction's text with its first word in upper case."""
    head, space, rest = text.partition(" ")
    return head.upper() + space + rest


def is_copy_from(command: Instruction) -> bool:
    """Tell whether this is COPY --from."""
    return isinstance(command, Copy) and command.flags.has("from")
