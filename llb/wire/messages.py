# SPDX-License-Identifier: Apache-2.0
"""The message classes and enum values of package ``pb`` by their names, made when this module is imported.

They are `Any` to type checkers: what they hold, the ops declare (`llbkit.llb.wire.schema`).
"""

from __future__ import annotations

from typing import Any

from llbkit.llb.wire.schema import classes

globals().update(classes())


def __getattr__(name: str) -> Any:
    """Refuse other names; for type checkers, the classes."""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
