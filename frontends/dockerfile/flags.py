# SPDX-License-Identifier: Apache-2.0
"""The ``--name=value`` flags of an instruction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from frontends.dockerfile import errors
from frontends.dockerfile.ast import Node
from grammar import nearest

_TRUTH = {"true": True, "": True, "false": False}


@dataclass(frozen=True, slots=True)
class Flags:
    """Values by name; booleans are "true" or "false"."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def read(
        cls,
        node: Node,
        *,
        strings: Sequence[str] = (),
        booleans: Sequence[str] = (),
        lists: Sequence[str] = (),
    ) -> Flags:
        """Read a node's flags; only ``lists`` may be repeated.

        Raises:
            DiagnosticError: a flag is unknown, repeated, or has no value or a wrong one.
        """
        values: dict[str, tuple[str, ...]] = {}
        known = (*strings, *booleans, *lists)
        for flag in node.flags:
            name, equals, value = flag.removeprefix("--").partition("=")
            if name not in known:
                raise errors.parse_error(
                    node, f"unknown flag: --{name}", suggestion=nearest(name, sorted(known))
                )
            if name in values and name not in lists:
                raise errors.parse_error(node, f"duplicate flag specified: --{name}")
            if name in booleans:
                if equals and not value:
                    raise errors.parse_error(node, f"missing a value on flag: --{name}")
                if value.lower() not in _TRUTH:
                    message = f"expecting boolean value for flag --{name}, not: {value}"
                    raise errors.parse_error(node, message)
                value = "true" if _TRUTH[value.lower()] else "false"
            elif not equals:
                raise errors.parse_error(
                    node, f"missing a value on flag: --{name}", hint=f"write --{name}=value"
                )
            values[name] = (*values.get(name, ()), value)
        return cls(values)

    def has(self, name: str) -> bool:
        """Tell whether a flag was given."""
        return name in self.values

    def get(self, name: str) -> str:
        """Return a flag's value; "" if it was not given."""
        return self.values.get(name, ("",))[-1]

    def all(self, name: str) -> tuple[str, ...]:
        """Return every value of a repeatable flag."""
        return self.values.get(name, ())

    def on(self, name: str) -> bool:
        """Return a boolean flag."""
        return self.get(name) == "true"
