# SPDX-License-Identifier: Apache-2.0
"""Build checks: rules, which of them are enabled, and where findings are reported.

The rules themselves are in `llbkit.frontends.dockerfile.check.rules`, one file each. They are asked while the file is read and
lowered, since most depend on what words expand to; so findings come in BuildKit's order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import field, replace

from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.frontends.kit.errors.places import Place
from llbkit.frontends.kit.golang.text import parse_bool
from llbkit.grammar import Diagnostic
from llbkit.records import dataclass

_URL = "https://docs.docker.com/go/dockerfile/rule/{}/"
_MOST_PARTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule. ``linked`` ones have a page of documentation; ``experimental`` ones must be asked for."""

    name: str
    description: str
    experimental: bool = False
    linked: bool = True

    @property
    def slug(self) -> str:
        """The rule's name in addresses: ``WorkdirRelativePath`` is ``workdir-relative-path``."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", self.name).lower()

    @property
    def url(self) -> str:
        """Where the rule is documented; "" if it is not."""
        return _URL.format(self.slug) if self.linked else ""


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

    def is_on(self, rule: Rule) -> bool:
        """Return whether a rule's findings count."""
        if rule.experimental:
            return self.experimental_all or rule.name in self.experimental
        return not (self.skip_all or rule.name in self.skip)


def _truth(part: str, value: str) -> bool:
    found = parse_bool(value)
    if found is None:
        raise errors.check_option(part, value=value)
    return found


@dataclass(slots=True)
class Findings:
    """What rules found so far. ``muted`` counts rules for ``error=true`` but keeps no warnings."""

    warnings: list[Diagnostic] = field(default_factory=list)
    fired: list[str] = field(default_factory=list)
    muted: bool = False

    def mute(self) -> None:
        """Keep no further warnings: after an error BuildKit finds none."""
        self.muted = True


@dataclass(frozen=True, slots=True)
class Linter:
    """Reports findings of the rules that are on."""

    config: Config = field(default_factory=Config)
    findings: Findings = field(default_factory=Findings)

    def report(self, rule: Rule, place: Place, message: str) -> None:
        """Report a finding, if the rule is on."""
        if not self.config.is_on(rule):
            return
        self.findings.fired.append(rule.name)
        if not self.findings.muted:
            self.findings.warnings.append(
                Diagnostic(
                    code=rule.name,
                    message=message,
                    spans=place.spans,
                    severity="warning",
                    detail=rule.description,
                    rule_url=rule.url,
                )
            )

    def with_comments(self, comments: Sequence[str]) -> Linter:
        """Return a linter that also follows the ``check=`` comment above an instruction; a malformed one is none."""
        for comment in comments:
            key, equals, value = comment.partition("=")
            if equals and key.strip().lower() == "check":
                try:
                    return Linter(
                        self.config.merged(Config.parse(value.strip().split(" ")[0])),
                        self.findings,
                    )
                except ProgramError:
                    return self
        return self

    def fail_on_findings(self) -> None:
        """Raise if ``error=true`` is set and a rule fired.

        Raises:
            ProgramError: naming the rules, each once.
        """
        if self.config.error and self.findings.fired:
            raise errors.lint_violations(dict.fromkeys(self.findings.fired))
