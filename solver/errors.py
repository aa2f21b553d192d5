# SPDX-License-Identifier: Apache-2.0
"""Errors of a solve.

SolveError
└── VertexError    one vertex failed; its cause is what the worker raised
"""

from __future__ import annotations

from llbkit.grammar import Span


class SolveError(Exception):
    """Base of the solver's errors."""


class VertexError(SolveError):
    """A vertex failed. ``spans`` are the lines it comes from; ``cause`` is what the worker raised."""

    def __init__(self, digest: str, name: str, spans: tuple[Span, ...], cause: Exception) -> None:
        super().__init__(f"{name}: {cause}")
        self.digest = digest
        self.name = name
        self.spans = spans
        self.cause = cause
