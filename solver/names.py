# SPDX-License-Identifier: Apache-2.0
"""What users see as a vertex's name: the one it was given, or BuildKit's default for its op."""

from __future__ import annotations

from typing import assert_never

from llb import ops
from llb.graph import Metadata, Vertex


def name_of(vertex: Vertex, metadata: Metadata) -> str:
    """Return the display name of a vertex."""
    given = metadata.description.get("llb.customname")
    return given or _default(vertex.op)


def _default(op: ops.Op) -> str:
    match op:
        case ops.Source():
            return op.identifier
        case ops.Exec():
            return " ".join(op.meta.args)
        case ops.File():
            return ", ".join(_action(action.action) for action in op.actions)
        case ops.Merge():
            return f"merge ({', '.join(map(str, op.inputs))})"
        case ops.Diff():
            return f"diff {op.lower} -> {op.upper}"
        case ops.Build():
            return "build"
        case ops.Passthrough():
            return f"passthrough {op.id}"
        case _:
            assert_never(op)


def _action(action: ops.Action) -> str:
    match action:
        case ops.Copy():
            return f"copy {action.src} {action.dest}"
        case ops.MkFile():
            return f"mkfile {action.path}"
        case ops.MkDir():
            return f"mkdir {action.path}"
        case ops.Rm():
            return f"rm {action.path}"
        case ops.Symlink():
            return f"symlink {action.newpath} -> {action.oldpath}"
        case _:
            assert_never(action)
