# SPDX-License-Identifier: Apache-2.0
"""Remove file actions that change nothing."""

from __future__ import annotations

import posixpath
from dataclasses import replace
from typing import ClassVar

from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Graph
from llbkit.records import dataclass
from llbkit.solver.passes.rewrite import Rewrite, Rewritten


@dataclass(frozen=True, slots=True)
class EmptyActions:
    """Take ``mkdir /`` out of file ops that do something else as well.

    Before: ``file(base): mkdir /, copy src /a /a``. After: ``file(base): copy src /a /a``.

    Results are equal because every tree has a root, and a directory that exists is left as it is, its owner, mode and time
    too. The op stays one layer, so an op that does nothing else stays: it is an empty layer, which an image has if its
    program says so (where no layers are seen, `ScratchCopies` reads past it). What becomes of a vertex depends on the vertex
    alone.
    """

    name: ClassVar[str] = "empty-actions"

    def run(self, graph: Graph) -> Rewritten:
        """Return the graph without such actions."""
        work = Rewrite(graph)
        for vertex in graph.vertices:
            op = vertex.op
            if isinstance(op, ops.File) and any(does_nothing(item.action) for item in op.actions):
                smaller, kept = without_empty(op, len(vertex.inputs))
                if len(kept) < len(op.actions) and work.put(
                    vertex, smaller, work.inputs(vertex), "mkdir / has no effect"
                ):
                    continue
            work.follow(vertex)
        return work.done(self.name)


def does_nothing(action: ops.Action) -> bool:
    """Whether an action leaves every tree as it is."""
    return isinstance(action, ops.MkDir) and posixpath.normpath(action.path).strip("/") in ("", ".")


def without_empty(op: ops.File, inputs: int) -> tuple[ops.File, list[int]]:
    """Return a file op of so many inputs without empty actions, and the numbers of the actions that are left.

    Empty ones stay if they are a result, or if their owners have to be found.
    """
    place: dict[int, int] = {}
    numbers: list[int] = []
    kept: list[ops.FileAction] = []
    for number, item in enumerate(op.actions):
        moved = replace(
            item,
            input=place.get(item.input, item.input),
            secondary_input=place.get(item.secondary_input, item.secondary_input),
        )
        plain = isinstance(item.action, ops.MkDir) and item.action.owner is None
        if does_nothing(item.action) and plain and item.output < 0 and moved.input >= 0:
            place[inputs + number] = moved.input
        else:
            place[inputs + number] = inputs + len(kept)
            kept.append(moved)
            numbers.append(number)
    return replace(op, actions=tuple(kept)), numbers
