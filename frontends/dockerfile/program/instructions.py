# SPDX-License-Identifier: Apache-2.0
"""Typed instructions: what each node of the generic tree means, before anything is expanded.

Their texts are the words of the tree, so they know where they stand: `syntax.words.where`.
"""

from __future__ import annotations

from dataclasses import field
from typing import TypeAlias

from llbkit.frontends.dockerfile.syntax.ast import Node
from llbkit.frontends.dockerfile.syntax.flags import NO_FLAGS, Flags
from llbkit.frontends.dockerfile.syntax.words import Word
from llbkit.frontends.kit.errors.places import Place
from llbkit.grammar import Span
from llbkit.llb.ir.ops import CDIDevice
from llbkit.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """What all have: ``keyword`` and ``code`` as written, where they stand, the comments above, and the flags."""

    keyword: str
    code: str
    place: Place
    comments: tuple[str, ...] = ()
    flags: Flags = NO_FLAGS
    node: Node | None = field(default=None, repr=False, compare=False)

    @property
    def span(self) -> Span | None:
        """All lines of the instruction."""
        return self.place.span


@dataclass(frozen=True, slots=True, kw_only=True)
class Inline:
    """A heredoc: its name, its text (without the tabs that ``<<-`` drops where that counts) and whether it expands."""

    name: str
    data: str
    expand: bool = True
    chomp: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """Words of a command; ``shell`` is the form that a shell runs."""

    words: tuple[str, ...]
    shell: bool


SCAN_CONTEXT, SCAN_STAGE = "BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"
SCAN_ARGS = frozenset({SCAN_CONTEXT, SCAN_STAGE})
"""Arguments that only say what is scanned for the bill of materials: they are no variables, with or without ARG."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(Instruction):
    """``ARG``: names with their defaults; None has none."""

    args: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One ``key=value``; ``legacy`` is the form without ``=``."""

    key: str
    value: str
    legacy: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(Instruction):
    """``ENV``."""

    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Instruction):
    """``LABEL``."""

    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Instruction):
    """``COPY`` or ``ADD`` (``is_add``): sources, destination, heredocs among the sources, and flags."""

    is_add: bool
    sources: tuple[str, ...]
    dest: str
    contents: tuple[Inline, ...] = ()
    source_stage: str = ""
    chown: str = ""
    chmod: str = ""
    checksum: str = ""
    link: bool = False
    parents: bool = False
    keep_git_dir: bool | None = None
    unpack: bool | None = None
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MountFlag:
    """One ``--mount`` as written, and the stage or image it names; the rest is read when it is expanded."""

    value: Word
    source_stage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Instruction):
    """``RUN``."""

    line: CommandLine
    files: tuple[Inline, ...] = ()
    mounts: tuple[MountFlag, ...] = ()
    devices: tuple[CDIDevice, ...] = ()
    network: str = "default"
    security: str = "sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(Instruction):
    """``CMD``."""

    line: CommandLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(Instruction):
    """``ENTRYPOINT``."""

    line: CommandLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck(Instruction):
    """``HEALTHCHECK``; times in nanoseconds."""

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Onbuild(Instruction):
    """``ONBUILD``: ``expression`` is kept for what is built on this."""

    expression: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose(Instruction):
    """``EXPOSE``: the words, sorted."""

    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(Instruction):
    """``VOLUME``."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(Instruction):
    """``SHELL``."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(Instruction):
    """``WORKDIR``."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Instruction):
    """``USER``."""

    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSignal(Instruction):
    """``STOPSIGNAL``."""

    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer(Instruction):
    """``MAINTAINER``."""

    name: str


AnyInstruction: TypeAlias = (
    Arg
    | Env
    | Label
    | Copy
    | Run
    | Cmd
    | Entrypoint
    | Healthcheck
    | Onbuild
    | Expose
    | Volume
    | Shell
    | Workdir
    | User
    | StopSignal
    | Maintainer
)
"""The closed union of instructions; match on it and end with ``assert_never``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage(Instruction):
    """``FROM`` with the instructions up to the next one; ``name`` is in lower case, "" if there is none."""

    base: str
    name: str = ""
    platform: str = ""
    commands: tuple[AnyInstruction, ...] = ()

    @property
    def name_span(self) -> Span | None:
        """Where its name stands; None if it has none."""
        return self.node.words[2].span if self.node is not None and self.name else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A whole file: its stages, and the ARGs before the first of them."""

    stages: tuple[Stage, ...]
    args: tuple[Arg, ...]
