# SPDX-License-Identifier: Apache-2.0
"""The ``--name=value`` flags of an instruction, each with its place in the source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import partial
from types import MappingProxyType
from typing import TypeVar

from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.syntax.ast import Node
from llbkit.frontends.dockerfile.syntax.words import Word
from llbkit.frontends.kit.errors.located import pointed
from llbkit.grammar import Span
from llbkit.records import dataclass

Reading = TypeVar("Reading")
_TRUTH = {"true": True, "": True, "false": False}


@dataclass(frozen=True, slots=True)
class Flags:
    """Values by name, as they are written."""

    values: Mapping[str, tuple[Word, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def read(
        cls,
        node: Node,
        *,
        strings: Sequence[str] = (),
        booleans: Sequence[str] = (),
        lists: Sequence[str] = (),
    ) -> Flags:
        """Read a node's flags; only ``lists`` may be repeated. A flag ``--`` ends them.

        Raises:
            ProgramError: a flag is unknown, repeated, or has no value or a wrong one.
        """
        if not node.flags:
            return NO_FLAGS
        known = (*strings, *booleans, *lists)
        values: dict[str, list[Word]] = {}
        for flag in node.flags:
            if flag == "--":
                break
            name, equals, text = flag.removeprefix("--").partition("=")
            if name not in known:
                raise errors.unknown_flag(name, known, _name_span(flag, name))
            if name in values and name not in lists:
                message = f"duplicate flag specified: --{name}"
                raise errors.flag(message, _name_span(flag, name), f"write --{name} once")
            value = flag.part(min(len(name) + 3, len(flag)))
            if name in booleans:
                _check_truth(name, value, has_value=bool(equals))
            elif not text and not equals:
                message = f"missing a value on flag: --{name}"
                raise errors.flag(message, _name_span(flag, name), f"write --{name}=value")
            values.setdefault(name, []).append(value)
        return cls({name: tuple(found) for name, found in values.items()})

    def get(self, name: str, default: str = "") -> str:
        """Return a flag's value; ``default`` if it was not given."""
        return self.values[name][-1] if name in self.values else default

    def span(self, name: str) -> Span | None:
        """Return where a flag's value stands; None if the flag was not given."""
        return self.values[name][-1].span if name in self.values else None

    def word(self, name: str) -> Word | None:
        """Return the whole flag, ``--name=value``; None if it was not given."""
        if name not in self.values:
            return None
        value = self.values[name][-1]
        return Word(value.written, value.line, value.start, value.end)

    def checked(self, name: str, read: Callable[[str], Reading], default: str = "") -> Reading:
        """Return what a flag's value is read as; errors point at it. Raises what ``read`` raises."""
        if name not in self.values:
            return read(default)
        with pointed(partial(self.span, name)):
            return read(self.get(name, default))

    def all(self, name: str) -> tuple[Word, ...]:
        """Return every value of a repeatable flag."""
        return self.values.get(name, ())

    def on(self, name: str) -> bool:
        """Return a boolean flag."""
        return name in self.values and _TRUTH[self.get(name).lower()]

    def choice(self, name: str) -> bool | None:
        """Return a boolean flag; None if it was not given."""
        return self.on(name) if name in self.values else None


NO_FLAGS = Flags()


def _name_span(flag: Word, name: str) -> Span:
    return flag.range_span(0, len(name) + 2)


def _check_truth(name: str, value: Word, *, has_value: bool) -> None:
    if has_value and not value:
        raise errors.flag(f"missing a value on flag: --{name}", value.span, f"write --{name}=true")
    if value.lower() not in _TRUTH:
        message = f"expecting boolean value for flag --{name}, not: {value}"
        raise errors.flag(message, value.span, "write true or false")
