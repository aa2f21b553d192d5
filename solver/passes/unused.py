# SPDX-License-Identifier: Apache-2.0
"""Drop inputs and mounts that an op does not use."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Graph
from llbkit.records import dataclass
from llbkit.solver.passes.rewrite import Rewrite, Rewritten


@dataclass(frozen=True, slots=True)
class Unused:
    """Take away mounts that another mount hides, and inputs that nothing in their op refers to.

    ===========================================  ===============================  ==================================
    before                                       after                            because
    ===========================================  ===============================  ==================================
    ``exec(root, x)`` with no mount of ``x``     ``exec(root)``                   the process cannot see ``x``
    ``exec(mount x at /m, then mount y at /m)``  ``exec(mount y at /m)``          the later mount covers the earlier
    ``copy(base, src, x)``, no action on ``x``   ``copy(base, src)``              no action reads ``x``
    ``merge(a, b, x)`` of inputs 0 and 1         ``merge(a, b)``                  ``x`` is not laid over anything
    ===========================================  ===============================  ==================================

    What becomes of a vertex depends on the vertex alone, not on who uses it, so every build gives it the same key. A hidden
    mount stays if its changes are a result, if it is the root, or if it is a cache, secret or agent, whose mounting can be
    waited for or fail. A passthrough's inputs are what it is there for. Outputs that nothing uses stay: docs/passes.md says why.
    """

    name: ClassVar[str] = "unused"

    def run(self, graph: Graph) -> Rewritten:
        """Return the graph without them."""
        work = Rewrite(graph)
        for vertex in graph.vertices:
            op, notes = _visible(vertex.op)
            unused = _unused(op, len(vertex.inputs))
            if not unused and not notes:
                work.follow(vertex)
                continue
            if unused:
                notes = [*notes, f"{_count(len(unused), 'input')} unused"]
            left = [index for index in range(len(vertex.inputs)) if index not in unused]
            place = {old: new for new, old in enumerate(left)}
            inputs = work.inputs(vertex)
            op = renumbered(op, place, len(inputs)) if unused else op
            if not work.put(vertex, op, [inputs[index] for index in left], *notes):
                work.follow(vertex)
        return work.done(self.name)


def _count(number: int, noun: str) -> str:
    return f"one {noun}" if number == 1 else f"{number} {noun}s"


def _visible(op: ops.Op) -> tuple[ops.Op, list[str]]:
    """Return an op without the mounts that a later one at the same place hides."""
    if not isinstance(op, ops.Exec) or len(op.mounts) < 2:
        return op, []
    last = {_place(mount): number for number, mount in enumerate(op.mounts)}
    hidden = [
        mount for number, mount in enumerate(op.mounts) if last[_place(mount)] != number and _may_go(mount)
    ]
    if not hidden:
        return op, []
    kept = tuple(mount for mount in op.mounts if not any(mount is gone for gone in hidden))
    return replace(op, mounts=kept), [f"mount at {mount.dest} is shadowed by a later one" for mount in hidden]


def _place(mount: ops.Mount) -> str:
    return posixpath.normpath(mount.dest)


def _may_go(mount: ops.Mount) -> bool:
    quiet = mount.mount_type is ops.MountType.TMPFS or (
        mount.mount_type is ops.MountType.BIND and mount.output < 0
    )
    # A selected path may be missing, which is an error; a relative place depends on the directory.
    return quiet and not mount.selector.strip("/") and mount.dest.startswith("/") and _place(mount) != "/"


def _unused(op: ops.Op, count: int) -> frozenset[int]:
    """Return the inputs that an op does not refer to."""
    if count == 0:
        return frozenset()
    used: set[int] = set()
    match op:
        case ops.Exec(mounts=mounts):
            used = {mount.input for mount in mounts}
        case ops.File(actions=actions):
            from llbkit.solver.passes.visibility import named_inputs

            for action in actions:
                used |= {action.input, action.secondary_input, *named_inputs(action.action)}
        case ops.Merge(inputs=inputs):
            used = set(inputs)
        case ops.Diff(lower=lower, upper=upper):
            used = {lower, upper}
        case _:
            return frozenset()
    return frozenset(index for index in range(count) if index not in used)


def renumbered(op: ops.Op, place: Mapping[int, int], count: int) -> ops.Op:
    """Return an op of ``count`` inputs whose input ``i`` is now number ``place[i]``; all that it uses have a place."""
    shift = count - len(place)
    match op:
        case ops.Exec():
            mounts = (replace(mount, input=place.get(mount.input, -1)) for mount in op.mounts)
            return replace(op, mounts=tuple(mounts))
        case ops.File():
            return replace(op, actions=tuple(moved(action, place, count, shift) for action in op.actions))
        case ops.Merge():
            return replace(op, inputs=tuple(place[index] for index in op.inputs))
        case ops.Diff():
            return replace(op, lower=place.get(op.lower, -1), upper=place.get(op.upper, -1))
        case _:
            raise AssertionError("inputs of other ops are all used")


def moved(action: ops.FileAction, place: Mapping[int, int], count: int, shift: int) -> ops.FileAction:
    """Return an action in a list whose inputs have other places, and whose results are numbered ``shift`` lower."""

    def index(old: int) -> int:
        return old - shift if old >= count else place.get(old, -1)

    return replace(
        action,
        action=_owned(action.action, place),
        input=index(action.input),
        secondary_input=index(action.secondary_input),
    )


def _owned(action: ops.Action, place: Mapping[int, int]) -> ops.Action:
    if isinstance(action, ops.Rm) or action.owner is None:
        return action

    def user(who: ops.UserOpt | None) -> ops.UserOpt | None:
        return replace(who, input=place.get(who.input, -1)) if isinstance(who, ops.NamedUser) else who

    owner = ops.Chown(user=user(action.owner.user), group=user(action.owner.group))
    return action if owner == action.owner else replace(action, owner=owner)
