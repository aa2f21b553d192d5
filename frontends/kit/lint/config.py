# SPDX-License-Identifier: Apache-2.0
"""Check options: which rules are on, and whether findings fail the build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from llbkit.frontends.kit.errors import texts as errors
from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.frontends.kit.golang.text import parse_bool
from llbkit.records import dataclass

if TYPE_CHECKING:
    from llbkit.frontends.kit.lint.rule import Rule

_MOST_PARTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Which rules are on, and whether findings fail the build."""

    skip_all: bool = False
    skip: frozenset[str] = frozenset()
    experimental_all: bool = False
    experimental: frozenset[str] = frozenset()
    error: bool = False

    @classmethod
    def parse(cls, text: str) -> Config:
        """Read check options: ``skip=A,B;experimental=all;error=true``.

        Raises:
            ProgramError: an option is unknown or has a wrong value.
        """
        config = cls()
        text = text.strip()
        for part in text.split(";", _MOST_PARTS - 1) if text else ():
            key, equals, value = part.partition("=")
            if not equals:
                raise errors.check_option(part)
            value = value.strip()
            names = frozenset(name.strip() for name in value.split(","))
            match key.strip():
                case "skip":
                    config = replace(config, skip_all=True) if value == "all" else replace(config, skip=names)
                case "experimental" if value == "all":
                    config = replace(config, experimental_all=True)
                case "experimental":
                    config = replace(config, experimental=names)
                case "error":
                    config = replace(config, error=_truth(part, value))
                case other:
                    raise errors.check_option(other)
        return config

    def merged(self, other: Config) -> Config:
        """Return these options with the skipped and experimental rules of others added."""
        return Config(
            skip_all=self.skip_all or other.skip_all,
            skip=self.skip | other.skip,
            experimental_all=self.experimental_all or other.experimental_all,
            experimental=self.experimental | other.experimental,
            error=self.error,
        )

    def above(self, comments: Sequence[str]) -> Config:
        """Return these options with those of the first ``check=`` comment above an instruction; a malformed one is none."""
        for comment in comments:
            key, equals, value = comment.partition("=")
            if equals and key.strip().lower() == "check":
                try:
                    return self.merged(Config.parse(value.strip().split(" ")[0]))
                except ProgramError:
                    return self
        return self

    def is_on(self, rule: type[Rule]) -> bool:
        """Return whether a rule's findings count."""
        if rule.experimental:
            return self.experimental_all or rule.name in self.experimental
        return not (self.skip_all or rule.name in self.skip)


def _truth(part: str, value: str) -> bool:
    found = parse_bool(value)
    if found is None:
        raise errors.check_option(part, value=value)
    return found
