# SPDX-License-Identifier: Apache-2.0
"""The ``--name=value`` flags of an instruction, each with its place in the source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TypeVar

from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.syntax.ast import Node
from llbkit.frontends.kit.errors.located import pointed
from llbkit.grammar import Span

Reading = TypeVar("Reading")
_TRUTH = {"true": "true", "": "true", "false": "false"}


@dataclass(frozen=True, slots=True)
class Value:
    """A flag's value; it begins ``offset`` characters into word ``number`` of the node's flags."""

    text: str
    node: Node = field(repr=False, compare=False)
    number: int = field(default=0, compare=False)
    offset: int = field(default=0, compare=False)

    @property
    def span(self) -> Span:
        """Where the value stands; the whole flag if the value is empty."""
        return self.part(0, len(self.text)) if self.text else self.node.flag_span(self.number)

    def part(self, start: int, end: int) -> Span:
        """Return where a part of the value stands."""
        return self.node.flag_part_span(self.number, self.offset + start, self.offset + end)


@dataclass(frozen=True, slots=True)
class Flags:
    """Values by name; booleans are "true" or "false"."""

    values: Mapping[str, tuple[Value, ...]] = field(default_factory=lambda: MappingProxyType({}))

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
        values: dict[str, list[Value]] = {}
        for number, flag in enumerate(node.flags):
            if flag == "--":
                break
            name, equals, text = flag.removeprefix("--").partition("=")
            if name not in known:
                raise errors.unknown_flag(name, known, _name_span(node, number, name))
            if name in values and name not in lists:
                message = f"duplicate flag specified: --{name}"
                raise errors.flag(message, _name_span(node, number, name), f"write --{name} once")
            value = Value(text, node, number, len(name) + 3)
            if name in booleans:
                value = _truth(name, value, has_value=bool(equals))
            elif not text and not equals:
                message = f"missing a value on flag: --{name}"
                raise errors.flag(message, _name_span(node, number, name), f"write --{name}=value")
            values.setdefault(name, []).append(value)
        return cls({name: tuple(found) for name, found in values.items()})

    def get(self, name: str, default: str = "") -> str:
        """Return a flag's value; ``default`` if it was not given."""
        return self.values[name][-1].text if name in self.values else default

    def span(self, name: str) -> Span | None:
        """Return where a flag's value stands; None if the flag was not given."""
        return self.values[name][-1].span if name in self.values else None

    def checked(self, name: str, read: Callable[[str], Reading], default: str = "") -> Reading:
        """Return what a flag's value is read as; errors point at it. Raises what ``read`` raises."""
        if name not in self.values:
            return read(default)
        with pointed(partial(self.span, name)):
            return read(self.get(name, default))

    def all(self, name: str) -> tuple[Value, ...]:
        """Return every value of a repeatable flag."""
        return self.values.get(name, ())

    def on(self, name: str) -> bool:
        """Return a boolean flag."""
        return self.get(name) == "true"

    def choice(self, name: str) -> bool | None:
        """Return a boolean flag; None if it was not given."""
        return self.on(name) if name in self.values else None


NO_FLAGS = Flags()


def _name_span(node: Node, number: int, name: str) -> Span:
    return node.flag_part_span(number, 0, len(name) + 2)


def _truth(name: str, value: Value, *, has_value: bool) -> Value:
    if has_value and not value.text:
        raise errors.flag(f"missing a value on flag: --{name}", value.span, f"write --{name}=true")
    if value.text.lower() not in _TRUTH:
        message = f"expecting boolean value for flag --{name}, not: {value.text}"
        raise errors.flag(message, value.span, "write true or false")
    return Value(_TRUTH[value.text.lower()], value.node, value.number, value.offset)
