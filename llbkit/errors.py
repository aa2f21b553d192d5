# SPDX-License-Identifier: Apache-2.0
"""All exceptions that `llbkit.Engine` raises, imported on first use.

DiagnosticError          a program or a text is wrong; ``diagnostics`` say where
LLBError
├── DefinitionError      a definition or a graph breaks the rules
└── StateError           a builder call makes no sense
SolveError
└── VertexError          a step failed; ``cause`` is what the worker raised, ``spans`` the lines it comes from
WorkerError
├── EnvironmentLackError the host lacks something
├── ExecError            a process failed
├── SourceError          a source cannot be had
└── StorageError         the state directory cannot be used
ConfigError              the settings cannot be used
FlagError                the text of an output or another option cannot be used
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llbkit.config import ConfigError
    from llbkit.grammar import DiagnosticError
    from llbkit.llb.errors import DefinitionError, LLBError, StateError
    from llbkit.request.csvflags import FlagError
    from llbkit.solver.errors import SolveError, VertexError
    from llbkit.worker.base import EnvironmentLackError, ExecError, SourceError, StorageError, WorkerError

__all__ = [
    "ConfigError",
    "DefinitionError",
    "DiagnosticError",
    "EnvironmentLackError",
    "ExecError",
    "FlagError",
    "LLBError",
    "SolveError",
    "SourceError",
    "StateError",
    "StorageError",
    "VertexError",
    "WorkerError",
]

_HOMES = {
    "llbkit.grammar": ("DiagnosticError",),
    "llbkit.llb.errors": ("DefinitionError", "LLBError", "StateError"),
    "llbkit.config": ("ConfigError",),
    "llbkit.request.csvflags": ("FlagError",),
    "llbkit.solver.errors": ("SolveError", "VertexError"),
    "llbkit.worker.base": ("EnvironmentLackError", "ExecError", "SourceError", "StorageError", "WorkerError"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
