# SPDX-License-Identifier: Apache-2.0
"""The product: engine, configuration, command line.

``from llbkit import Engine`` is the way in from Python; nothing is loaded before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llbkit.engine.embedded import Engine
    from llbkit.engine.solution import Solution
    from llbkit.request.values import BuildOutcome, BuildRequest, Output

__version__ = "0.1.0"
__all__ = ["BuildOutcome", "BuildRequest", "Engine", "Output", "Solution", "__version__"]

_LAZY = {
    "BuildOutcome": "llbkit.request.values",
    "BuildRequest": "llbkit.request.values",
    "Engine": "llbkit.engine.embedded",
    "Output": "llbkit.request.values",
    "Solution": "llbkit.engine.solution",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
