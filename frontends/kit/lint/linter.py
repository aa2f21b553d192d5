# SPDX-License-Identifier: Apache-2.0
"""Has rules hear facts, and keeps what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import field

from llbkit.frontends.kit.errors import texts as errors
from llbkit.frontends.kit.errors.places import Place
from llbkit.frontends.kit.lint.config import Config
from llbkit.frontends.kit.lint.facts import Fact
from llbkit.frontends.kit.lint.rule import Finding, Rule
from llbkit.grammar import Diagnostic
from llbkit.records import dataclass


@dataclass(slots=True)
class Findings:
    """What rules found. ``muted`` counts rules for ``error=true`` but keeps no warnings.

    ``skipped`` are the images that could not be reached, each with the place that it is first missed at and the rules that
    would have needed it.
    """

    warnings: list[Diagnostic] = field(default_factory=list)
    fired: list[str] = field(default_factory=list)
    skipped: dict[str, tuple[Place, dict[str, None]]] = field(default_factory=dict)
    muted: bool = False

    def skip(self, rule: str, fact: Fact) -> None:
        """Note that a rule cannot tell without the image that a fact lacks."""
        _, rules = self.skipped.setdefault(fact.base, (fact.place, {}))
        rules[rule] = None

    def notes(self) -> Iterator[Diagnostic]:
        """Yield a note for each image that could not be reached: which rules were skipped for it."""
        for base, (place, rules) in self.skipped.items():
            yield Diagnostic(
                code="skipped-checks",
                message=f"checks skipped without the config of {base}: {', '.join(rules)}",
                spans=place.spans,
                severity="note",
                help="all other checks were made",
            )


_Look = Callable[[Fact], Iterator[Finding]]


class Linter:
    """Hears the facts of one program for a profile of rules. What they find comes in the order of the facts.

    Findings about the same fact are in the profile's order. It is a `Facts`.
    """

    def __init__(
        self, profile: Iterable[type[Rule]], config: Config | None = None, findings: Findings | None = None
    ) -> None:
        self.config = config or Config()
        self.findings = findings if findings is not None else Findings()
        self._heard: dict[type[Fact], list[tuple[Rule, frozenset[str], _Look]]] = {}
        for kind in profile:
            if not (kind.experimental or self.config.is_on(kind)):
                continue  # no comment can switch it on again
            rule = kind()
            for fact, keywords, method in kind.handlers:
                self._heard.setdefault(fact, []).append((rule, keywords, getattr(rule, method)))

    def wants(self, kind: type[Fact]) -> bool:
        """Return whether a rule hears facts of this kind."""
        return kind in self._heard

    def failed(self) -> None:
        """Keep no further warnings: after an error BuildKit finds none."""
        self.findings.muted = True

    def tell(self, fact: Fact) -> None:
        """Have the rules look at a fact."""
        for rule, keywords, look in self._heard.get(type(fact), ()):
            if keywords and fact.keyword not in keywords:
                continue
            for finding in look(fact):
                if not self._config(rule, fact).is_on(type(rule)):
                    continue
                if rule.needs_image and fact.base:
                    self.findings.skip(rule.name, fact)
                else:
                    self._keep(rule, fact, finding)

    def _config(self, rule: Rule, fact: Fact) -> Config:
        comments = fact.comments
        return self.config.above(comments) if comments and rule.heeds_comments else self.config

    def _keep(self, rule: Rule, fact: Fact, finding: Finding) -> None:
        self.findings.fired.append(rule.name)
        if self.findings.muted:
            return
        place = finding.place or fact.place
        # What a base image triggers is shown at FROM, and cannot be mended in this file.
        here = (
            finding.span is not None and place.span is not None and finding.span.source is place.span.source
        )
        self.findings.warnings.append(
            Diagnostic(
                code=rule.name,
                message=finding.message,
                spans=place.spans,
                severity="warning",
                detail=rule.description,
                rule_url=rule.url(),
                focus=finding.span if here else None,
                fixes=finding.fixes if here else (),
            )
        )

    def fail_on_findings(self) -> None:
        """Raise if ``error=true`` is set and a rule fired.

        Raises:
            ProgramError: naming the rules, each once.
        """
        if self.config.error and self.findings.fired:
            raise errors.lint_violations(dict.fromkeys(self.findings.fired))
