# SPDX-License-Identifier: Apache-2.0
"""Facts: what reading and lowering see, told as it happens to whoever wants to hear it.

A language declares its facts as dataclasses below `Fact`. Who tells them knows no rule.
"""

from __future__ import annotations

from typing import Protocol

from llbkit.frontends.kit.errors.places import NOWHERE, Place


class Fact:
    """Something that was seen in a program."""

    __slots__ = ()

    @property
    def place(self) -> Place:
        """The instruction that it is about."""
        return NOWHERE

    @property
    def keyword(self) -> str:
        """What kind of instruction that is, in lower case; "" if rules cannot choose by it."""
        return ""

    @property
    def comments(self) -> tuple[str, ...]:
        """The comments above that instruction, which may switch rules off."""
        return ()

    @property
    def base(self) -> str:
        """The image that would have to be known for the whole truth, but could not be reached; "" if there is none."""
        return ""


class Facts(Protocol):
    """Who hears facts."""

    def tell(self, fact: Fact) -> None:
        """Hear a fact. It is looked at before this returns: what it refers to may change later."""

    def wants(self, kind: type[Fact]) -> bool:
        """Return whether facts of this kind are heard at all: those that take time to find need not be told otherwise."""

    def failed(self) -> None:
        """Hear that the program is wrong: what is seen from now on may only follow from that."""


class _Nobody:
    def tell(self, fact: Fact) -> None:
        pass

    def wants(self, kind: type[Fact]) -> bool:
        return False

    def failed(self) -> None:
        pass


NOBODY: Facts = _Nobody()
"""Hears nothing."""
