# SPDX-License-Identifier: Apache-2.0
"""The parameters of a target: build arguments, secrets and SSH agents, collected while stages are lowered.

An argument counts if the target's chain of stages declares it, or if a FROM on the chain expands it, or if the default
of one that counts does. The nearest stage's declaration is the one reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from llbkit.frontends.kit.errors.places import Place
from llbkit.frontends.kit.subrequests.outline import ArgFact, MountFact, Summary
from llbkit.records import dataclass

if TYPE_CHECKING:
    from llbkit.frontends.dockerfile.lower.stage import StageState


@dataclass(slots=True)
class Outline:
    """What one stage takes. A secret's or agent's first mount is the one reported."""

    args: dict[str, ArgFact] = field(default_factory=dict)
    used: dict[str, None] = field(default_factory=dict)
    secrets: dict[str, MountFact] = field(default_factory=dict)
    agents: dict[str, MountFact] = field(default_factory=dict)

    @classmethod
    def of_file(cls, args: Mapping[str, ArgFact], used: Iterable[str]) -> Outline:
        """Return the outline that a stage begins with: the global arguments, of which its FROM ``used`` some."""
        out = cls(args=dict(args))
        pending = sorted(used, reverse=True)
        while pending:
            name = pending.pop()
            if name not in out.used:
                out.used[name] = None
                if name in args:
                    pending += sorted(args[name].uses, reverse=True)
        return out

    def declare(self, name: str, fact: ArgFact | None) -> None:
        """Note an ARG; None: the value is the global argument's, which is reported instead."""
        self.used[name] = None
        if fact is not None:
            self.args[name] = fact


def summarize(target: StageState) -> Summary:
    """Return what a lowered target and the stages that it needs take."""
    args: dict[str, ArgFact] = {}
    secrets: dict[str, MountFact] = {}
    agents: dict[str, MountFact] = {}
    for stage in _chain(target):
        outline = stage.outline
        for name in outline.used:
            if name in outline.args:
                args.setdefault(name, outline.args[name])
        for known, found in ((secrets, outline.secrets), (agents, outline.agents)):
            for name, fact in found.items():
                known.setdefault(name, fact)
    return Summary(
        tuple(sorted(args.values(), key=lambda fact: _line(fact.place))),
        tuple(sorted(secrets.values(), key=lambda fact: _line(fact.place))),
        tuple(sorted(agents.values(), key=lambda fact: _line(fact.place))),
    )


def _chain(target: StageState) -> Iterator[StageState]:
    """Yield a stage, then those that it stands on, then those that it copies from or mounts; each once."""
    seen: set[StageState] = set()
    pending = [target]
    while pending:
        stage = pending.pop()
        if stage in seen:
            continue
        seen.add(stage)
        yield stage
        pending += reversed(stage.needs)
        if stage.base is not None:
            pending.append(stage.base)


def _line(place: Place) -> int:
    return place.lines[0][0] if place.lines else 0
