# SPDX-License-Identifier: Apache-2.0
"""Bypass file ops that only copy a whole tree."""

from __future__ import annotations

import posixpath
from typing import ClassVar

from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Edge, Graph, Vertex
from llbkit.records import dataclass
from llbkit.solver.passes.empty_actions import does_nothing
from llbkit.solver.passes.rewrite import Note, Rewrite, Rewritten


@dataclass(frozen=True, slots=True)
class ScratchCopies:
    """Copy from the original where a program copies from a copy of all of it.

    ===============================================  ======================
    before                                           after
    ===============================================  ======================
    ``copy(base, copy(scratch, x, / /), /f /f)``     ``copy(base, x, /f /f)``
    ``copy(base, file(x): mkdir /, /f /f)``          ``copy(base, x, /f /f)``
    ===============================================  ======================

    Results are equal because a copy of everything to scratch that changes no owner, mode or time has every file of the
    original, links, devices, attributes and times included. Only its root directory is another, so a user that could
    see the root itself is left alone, as are users that see layers. ``x`` is not a local directory: what is copied from one
    gets other owners. The user is known by the content of what it copies, which is the same, so it is found in the cache
    whichever way it was built.
    """

    name: ClassVar[str] = "scratch-copies"

    def run(self, graph: Graph) -> Rewritten:
        """Return the graph whose copies read the originals. The copied trees are dropped if nothing else uses them."""
        work = Rewrite(graph)
        origin: dict[Edge, Edge] = {}
        for vertex in graph.vertices:
            repeated = _repeated(vertex)
            if repeated is not None:
                origin[Edge(vertex)] = origin.get(repeated, repeated)
            if not (origin and self._look_past(work, vertex, origin)):
                work.follow(vertex)
        return work.done(self.name)

    def _look_past(self, work: Rewrite, vertex: Vertex, origin: dict[Edge, Edge]) -> bool:
        op = vertex.op
        if not isinstance(op, ops.File):
            return False
        roles: dict[int, bool] = {}
        for item in op.actions:
            below_root = isinstance(item.action, ops.Copy) and _below_root(item.action)
            roles[item.secondary_input] = roles.get(item.secondary_input, True) and below_root
            roles[item.input] = False
        from llbkit.solver.passes.visibility import named_inputs

        for item in op.actions:
            roles |= dict.fromkeys(named_inputs(item.action), False)
        inputs = list(vertex.inputs)
        passed = []
        for number, edge in enumerate(inputs):
            if roles.get(number) and edge in origin:
                inputs[number] = origin[edge]
                passed.append(edge.vertex)
        if not passed or not work.put(vertex, op, [work.edge(edge) for edge in inputs]):
            return False
        work.notes += [
            Note(work.graph, below, "copies a whole tree: later copies read the original instead")
            for below in passed
        ]
        return True


def _repeated(vertex: Vertex) -> Edge | None:
    """Return what a file op repeats; None if it does anything of its own."""
    op = vertex.op
    if not isinstance(op, ops.File):
        return None
    if len(op.actions) == 1 and isinstance(copy := op.actions[0].action, ops.Copy):
        item = op.actions[0]
        whole = item.input == -1 and 0 <= item.secondary_input < len(vertex.inputs) and _is_plain(copy)
        source = vertex.inputs[item.secondary_input] if whole else None
    else:
        nothing = all(
            does_nothing(item.action) and item.action.owner is None
            for item in op.actions
            if isinstance(item.action, ops.MkDir)
        )
        chain = all(
            isinstance(item.action, ops.MkDir)
            and item.input == (0 if number == 0 else len(vertex.inputs) + number - 1)
            and item.output == (0 if number == len(op.actions) - 1 else -1)
            for number, item in enumerate(op.actions)
        )
        source = vertex.inputs[0] if nothing and chain and len(vertex.inputs) == 1 else None
    if source is None or _is_local(source.vertex):
        return None
    return source


def _is_plain(copy: ops.Copy) -> bool:
    """Whether a copy takes everything as it is."""
    plain = ops.Copy(
        src=copy.src,
        dest=copy.dest,
        mode=-1,
        timestamp=-1,
        dir_copy_contents=True,
        follow_symlink=copy.follow_symlink,
        create_dest_path=copy.create_dest_path,
        allow_wildcard=copy.allow_wildcard,
        allow_empty_wildcard=copy.allow_empty_wildcard,
        attempt_unpack=copy.attempt_unpack,
        always_replace_existing_dest_paths=copy.always_replace_existing_dest_paths,
    )
    return copy == plain and _is_root(copy.src) and _is_root(copy.dest)


def _is_root(path: str) -> bool:
    return posixpath.normpath("/" + path) in ("/", "//")


def _below_root(copy: ops.Copy) -> bool:
    """Whether a copy reads something below the root only, by a name that is not a pattern."""
    return not _is_root(copy.src) and ".." not in copy.src.split("/") and not set(copy.src) & set("*?[\\")


def _is_local(vertex: Vertex) -> bool:
    return isinstance(vertex.op, ops.Source) and vertex.op.identifier.startswith("local://")
