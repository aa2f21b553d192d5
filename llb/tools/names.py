# SPDX-License-Identifier: Apache-2.0
"""What users see as a vertex's name: the one it was given, or BuildKit's default for its op."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import assert_never

from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Metadata, Vertex

_LONGEST = 200
"""Characters of an input's name inside another name, so that nested merges do not grow without end."""


def name_of(vertex: Vertex, metadata: Metadata, inputs: Sequence[str] = ()) -> str:
    """Return the display name of a vertex; ``inputs`` are the names of its inputs, in order."""
    given = metadata.description.get("llb.customname")
    return given or _default(vertex.op, inputs)


def seen(text: str) -> str:
    """Return a text with a mark for each character that cannot be seen, but for tabs and line ends.

    Escape sequences and turns of the writing direction would change what a terminal or a picture shows of the rest.
    """
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(char if _is_seen(char) else "\N{REPLACEMENT CHARACTER}" for char in text)


def _is_seen(char: str) -> bool:
    # Spaces of other widths are seen, though Python calls only the usual one printable.
    return char in "\t\n" or char.isprintable() or unicodedata.category(char) == "Zs"


def _default(op: ops.Op, inputs: Sequence[str]) -> str:
    match op:
        case ops.Source():
            return op.identifier
        case ops.Exec():
            return " ".join(op.meta.args)
        case ops.File():
            return ", ".join(_action(action.action) for action in op.actions)
        case ops.Merge():
            return f"merge ({', '.join(_input(index, inputs) for index in op.inputs)})"
        case ops.Diff():
            return f"diff {_input(op.lower, inputs)} -> {_input(op.upper, inputs)}"
        case ops.Build():
            return "build"
        case ops.Passthrough():
            return f"passthrough {op.id}"
        case _:
            assert_never(op)


def _input(index: int, names: Sequence[str]) -> str:
    if index < 0:
        return "scratch"
    if index >= len(names):
        return f"input {index}"
    name = names[index]
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


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
