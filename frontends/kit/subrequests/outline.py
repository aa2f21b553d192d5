# SPDX-License-Identifier: Apache-2.0
"""What a target takes from outside, as the outline subrequest lists it: build arguments, secrets and SSH agents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY

from llbkit.frontends.kit.errors.places import Place
from llbkit.records import dataclass


def description_of(comments: Iterable[str], name: str) -> str:
    """Return what the comments above a definition say about it: the first that begins with its name, without it."""
    for comment in comments:
        word, space, text = comment.partition(" ")
        if space and word == name:
            return text
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgFact:
    """A build argument: where it is declared, its value, and the arguments that its default uses."""

    name: str
    value: str | None
    description: str
    place: Place
    uses: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class MountFact:
    """A secret or an SSH agent that a step mounts."""

    name: str
    required: bool
    place: Place


@dataclass(frozen=True, slots=True)
class TargetFact:
    """What can be built: its name ("" has none), what it stands on and for which platform, as they are written."""

    name: str
    base: str = ""
    platform: str = ""
    _: KW_ONLY
    default: bool
    place: Place
    description: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a whole target takes, in the file's order."""

    args: tuple[ArgFact, ...] = ()
    secrets: tuple[MountFact, ...] = ()
    agents: tuple[MountFact, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetOutline:
    """A target ("" has no name) with what it takes."""

    name: str
    description: str
    summary: Summary
