# SPDX-License-Identifier: Apache-2.0
"""The language kit: what every language needs beside its grammar and its lowering. Names are loaded when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llbkit.frontends.kit.errors.located import ProgramError
    from llbkit.frontends.kit.errors.places import Place
    from llbkit.frontends.kit.inputs.program import ProgramFile
    from llbkit.frontends.kit.language import Language
    from llbkit.frontends.kit.lint.facts import Fact, Facts
    from llbkit.frontends.kit.lint.rule import Example, Finding, Rule, hears
    from llbkit.frontends.kit.subrequests.outline import TargetFact
    from llbkit.frontends.kit.target import Target
    from llbkit.frontends.kit.tree import Clause, ClauseSeen, GrammarLanguage, Part, Term

__all__ = [
    "Clause",
    "ClauseSeen",
    "Example",
    "Fact",
    "Facts",
    "Finding",
    "GrammarLanguage",
    "Language",
    "Part",
    "Place",
    "ProgramError",
    "ProgramFile",
    "Rule",
    "Target",
    "TargetFact",
    "Term",
    "hears",
]

_HOMES = {
    "Clause": "tree",
    "ClauseSeen": "tree",
    "Example": "lint.rule",
    "Fact": "lint.facts",
    "Facts": "lint.facts",
    "Finding": "lint.rule",
    "GrammarLanguage": "tree",
    "Language": "language",
    "Part": "tree",
    "Place": "errors.places",
    "ProgramError": "errors.located",
    "ProgramFile": "inputs.program",
    "Rule": "lint.rule",
    "Target": "target",
    "TargetFact": "subrequests.outline",
    "Term": "tree",
    "hears": "lint.rule",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
