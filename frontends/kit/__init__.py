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
    from llbkit.frontends.kit.subrequests.outline import TargetFact
    from llbkit.frontends.kit.target import Target
    from llbkit.frontends.kit.tree import Clause, GrammarLanguage, Part, Term

__all__ = [
    "Clause",
    "GrammarLanguage",
    "Language",
    "Part",
    "Place",
    "ProgramError",
    "ProgramFile",
    "Target",
    "TargetFact",
    "Term",
]

_HOMES = {
    "Clause": "tree",
    "GrammarLanguage": "tree",
    "Language": "language",
    "Part": "tree",
    "Place": "errors.places",
    "ProgramError": "errors.located",
    "ProgramFile": "inputs.program",
    "Target": "target",
    "TargetFact": "subrequests.outline",
    "Term": "tree",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
