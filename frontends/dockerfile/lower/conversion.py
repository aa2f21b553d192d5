# SPDX-License-Identifier: Apache-2.0
"""What all stages of one platform share while they are lowered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from functools import cache

from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.options import DockerfileOptions
from llbkit.frontends.dockerfile.program.words import Mode
from llbkit.frontends.kit.errors.places import Place
from llbkit.frontends.kit.golang.text import format_time
from llbkit.frontends.kit.lint.facts import Facts
from llbkit.frontends.kit.subrequests.outline import ArgFact
from llbkit.grammar.patterns.match import PatternMatcher
from llbkit.llb.builder.options import At, SourceText
from llbkit.llb.builder.state import State
from llbkit.llb.ir.ops import Platform
from llbkit.records import dataclass

COMMAND = "com.docker.dockerfile.v1.command"
MOST_TEXT = 1 << 28
"""How many characters one file may make of its variables, for one platform."""


@cache
def mode_of(escape: str, raw: bool = False) -> Mode:
    """Return how words are read; ``raw`` keeps quotes, and variables that are not set."""
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
    tells_words: bool = False
    """Whether somebody hears of every word that is expanded."""
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
        return mode_of(self.escape)

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
