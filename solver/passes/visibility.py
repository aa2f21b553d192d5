# SPDX-License-Identifier: Apache-2.0
"""What the users of each result can observe: its files only, or its layers as well.

The layers of a result are seen by whoever builds on them or hands them on: the head if it may be exported as an image, a
mount whose changes are kept, a merge or diff (which are made of layers), the base of file actions, a cache mount (which is
known by the layers it began with), a definition to be solved, a passthrough. Its files only are seen by a copy from it, and
by a mount whose changes are thrown away; these two are also known by content, so whatever made the files, the user is
found in the cache. Everything that is not certainly the latter counts as the former.
"""

from __future__ import annotations

from enum import Flag, auto

from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Graph, Vertex
from llbkit.solver.passes.rewrite import Seen


class Use(Flag):
    """How a vertex uses an input; one input may be used in several ways."""

    NONE = 0
    FILES = auto()
    """Read, and known by content."""
    BASE = auto()
    """Built upon by file actions."""
    LAYERS = auto()
    """Anything else."""


def uses(vertex: Vertex) -> list[Use]:
    """Return how a vertex uses each of its inputs. Cost: linear in inputs, mounts and actions."""
    found = [Use.NONE] * len(vertex.inputs)
    match vertex.op:
        case ops.File(actions=actions):
            for action in actions:
                _mark(found, action.input, Use.BASE)
                _mark(found, action.secondary_input, Use.FILES)
                for index in named_inputs(action.action):
                    _mark(found, index, Use.LAYERS)
        case ops.Exec(mounts=mounts):
            for mount in mounts:
                _mark(found, mount.input, Use.FILES if _reads_only(mount) else Use.LAYERS)
        case _:
            return [Use.LAYERS] * len(vertex.inputs)
    return found


def seen_of(graph: Graph, head: Seen) -> dict[Vertex, Use]:
    """Return how the vertices of a graph are used, all their outputs and users together."""
    found: dict[Vertex, Use] = {}
    for vertex in graph.vertices:
        for edge, use in zip(vertex.inputs, uses(vertex), strict=True):
            found[edge.vertex] = found.get(edge.vertex, Use.NONE) | use
    if graph.head is not None:
        top = graph.head.vertex
        found[top] = found.get(top, Use.NONE) | (Use.FILES if head is Seen.FILES else Use.LAYERS)
    return found


def named_inputs(action: ops.Action) -> list[int]:
    """Return the inputs in which an action looks up owners."""
    owner = None if isinstance(action, ops.Rm) else action.owner
    who = () if owner is None else (owner.user, owner.group)
    return [user.input for user in who if isinstance(user, ops.NamedUser)]


def _mark(found: list[Use], index: int, use: Use) -> None:
    if 0 <= index < len(found):
        found[index] |= use


def _reads_only(mount: ops.Mount) -> bool:
    return (
        mount.mount_type is ops.MountType.BIND
        and mount.output < 0
        and mount.content_cache is not ops.ContentCache.OFF
    )
