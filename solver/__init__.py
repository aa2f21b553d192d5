# SPDX-License-Identifier: Apache-2.0
"""Keys, cache, schedule: what to execute, and when. See docs/solver.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llbkit.solver.errors import SolveError, VertexError
    from llbkit.solver.schedule.job import Job
    from llbkit.solver.solver import Solver

__all__ = ["Job", "SolveError", "Solver", "VertexError"]

_LAZY = {
    "Job": "llbkit.solver.schedule.job",
    "SolveError": "llbkit.solver.errors",
    "Solver": "llbkit.solver.solver",
    "VertexError": "llbkit.solver.errors",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
