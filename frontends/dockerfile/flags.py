# SPDX-License-Identifier: Apache-2.0
"""The ``--name=value`` flags of an instruction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from frontends.dockerfile import errors
from frontends.dockerfile.ast import Node

_TRUTH = {"true": "true", "": "true", "false": "false"}


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
        """Read a node's flags; only ``lists`` may be repeated. A flag ``--`` ends them.

        Raises:
            DockerfileError: a flag is unknown, repeated, or has no value or a wrong one.
        """
        values: dict[str, tuple[str, ...]] = {}
        for number, flag in enumerate(node.flags):
            if flag == "--":
                break
            name, equals, value = flag.removeprefix("--").partition("=")
            span = node.flag_span(number)
            if name not in (*strings, *booleans, *lists):
                raise errors.unknown_flag(name, (*strings, *booleans, *lists), span)
            if name in values and name not in lists:
                raise errors.flag(f"duplicate flag specified: --{name}", span, f"write --{name} once")
            if not value and not equals and name not in booleans:
                raise errors.flag(f"missing a value on flag: --{name}", span, f"write --{name}=value")
            if name in booleans:
                if equals and not value:
                    raise errors.flag(
                        f"missing a value on flag: --{name}",
                        span,
                        f"write --{name}=true",
                    )
                if value.lower() not in _TRUTH:
                    message = f"expecting boolean value for flag --{name}, not: {value}"
                    raise errors.flag(message, span, "write true or false")
                value = _TRUTH[value.lower()]
            values[name] = (*values.get(name, ()), value)
        return cls(values)

    def get(self, name: str, default: str = "") -> str:
        """Return a flag's value; ``default`` if it was not given."""
        return self.values[name][-1] if name in self.values else default

    def all(self, name: str) -> tuple[str, ...]:
        """Return every value of a repeatable flag."""
        return self.values.get(name, ())

    def on(self, name: str) -> bool:
        """Return a boolean flag."""
        return self.get(name) == "true"

    def choice(self, name: str) -> bool | None:
        """Return a boolean flag; None if it was not given."""
        return self.on(name) if name in self.values else None
