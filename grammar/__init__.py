# SPDX-License-Identifier: Apache-2.0
"""Positions, diagnostics and grammars. What needs Lark is loaded when it is used, so this facade is light."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from llbkit.grammar.diagnostic import (
    Diagnostic,
    DiagnosticError,
    Related,
    Severity,
    edit_distance,
    nearest,
    render_all,
)
from llbkit.grammar.edits import Edit, Fix, OverlapError, apply_edits, fitting
from llbkit.grammar.source import Source, Span

if TYPE_CHECKING:
    from llbkit.grammar.lift import Leaf, Lifter
    from llbkit.grammar.loader import Grammar, load
    from llbkit.grammar.recover import Syntax

__all__ = [
    "Diagnostic",
    "DiagnosticError",
    "Edit",
    "Fix",
    "Grammar",
    "Leaf",
    "Lifter",
    "OverlapError",
    "Related",
    "Severity",
    "Source",
    "Span",
    "Syntax",
    "apply_edits",
    "edit_distance",
    "fitting",
    "load",
    "nearest",
    "render_all",
]

_LAZY = {"Grammar": "loader", "Leaf": "lift", "Lifter": "lift", "Syntax": "recover", "load": "loader"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
