# SPDX-License-Identifier: Apache-2.0
"""Positions, diagnostics and grammars. Lark itself is behind `llbkit.grammar.loader`, so this facade is light."""

from llbkit.grammar.diagnostic import (
    Diagnostic,
    DiagnosticError,
    Related,
    Severity,
    edit_distance,
    nearest,
    render_all,
)
from llbkit.grammar.source import Source, Span

__all__ = [
    "Diagnostic",
    "DiagnosticError",
    "Related",
    "Severity",
    "Source",
    "Span",
    "edit_distance",
    "nearest",
    "render_all",
]
