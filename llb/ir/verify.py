# SPDX-License-Identifier: Apache-2.0
"""Invariants of a graph: a table of rules, run on every decoded definition and every built graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from llbkit.llb.errors import DefinitionError
from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Graph, Vertex
from llbkit.records import dataclass


@dataclass(frozen=True, slots=True)
class Invariant:
    """``holds`` must be true of every vertex whose op is a ``kind``; ``message`` describes the violation."""

    kind: type[object]
    holds: Callable[[Vertex], bool]
    message: str


def _within(vertex: Vertex, *indexes: int, least: int = -1) -> bool:
    return all(least <= index < len(vertex.inputs) for index in indexes)


def _exec(vertex: Vertex) -> ops.Exec:
    assert isinstance(vertex.op, ops.Exec)
    return vertex.op


def _actions_in_range(vertex: Vertex) -> bool:
    assert isinstance(vertex.op, ops.File)
    count = len(vertex.inputs)
    return all(
        -1 <= action.input < count + number and -1 <= action.secondary_input < count + number
        for number, action in enumerate(vertex.op.actions)
    )


def _owners_in_range(vertex: Vertex) -> bool:
    assert isinstance(vertex.op, ops.File)
    owners = [a.action.owner for a in vertex.op.actions if not isinstance(a.action, ops.Rm)]
    names = [who for owner in owners if owner is not None for who in (owner.user, owner.group)]
    return _within(vertex, *(who.input for who in names if isinstance(who, ops.NamedUser)))


def _mounts_have(kind: ops.MountType, option: str) -> Callable[[Vertex], bool]:
    return lambda vertex: all(
        getattr(mount, option) is not None for mount in _exec(vertex).mounts if mount.mount_type is kind
    )


def _field(name: str) -> Callable[[Vertex], int]:
    return lambda vertex: int(getattr(vertex.op, name))


RULES: tuple[Invariant, ...] = (
    Invariant(object, lambda v: all(edge.index >= 0 for edge in v.inputs), "inputs: negative output index"),
    Invariant(ops.Exec, lambda v: bool(_exec(v).meta.args), "exec.meta.args: must not be empty"),
    Invariant(
        ops.Exec, lambda v: any(m.dest == "/" for m in _exec(v).mounts), 'exec.mounts: no mount with dest "/"'
    ),
    Invariant(
        ops.Exec, lambda v: _within(v, *(m.input for m in _exec(v).mounts)), "exec.mounts: no such input"
    ),
    Invariant(
        ops.Exec,
        _mounts_have(ops.MountType.CACHE, "cache"),
        "exec.mounts: cache mount without cacheOpt",
    ),
    Invariant(
        ops.Exec,
        _mounts_have(ops.MountType.SECRET, "secret"),
        "exec.mounts: secret mount without secretOpt",
    ),
    Invariant(ops.Exec, _mounts_have(ops.MountType.SSH, "ssh"), "exec.mounts: ssh mount without SSHOpt"),
    Invariant(
        ops.Source,
        # BuildKit's client writes addresses as they are given (http:name); what runs the graph refuses them.
        lambda v: ":" in str(getattr(v.op, "identifier", "")),
        "source.identifier: missing scheme",
    ),
    Invariant(ops.Source, lambda v: not v.inputs, "source: must not have inputs"),
    Invariant(ops.File, lambda v: bool(getattr(v.op, "actions", ())), "file.actions: must not be empty"),
    Invariant(ops.File, _actions_in_range, "file.actions: no such input or action"),
    Invariant(ops.File, _owners_in_range, "file.actions.owner: no such input"),
    Invariant(
        ops.Merge, lambda v: _within(v, *getattr(v.op, "inputs", ()), least=0), "merge.inputs: no such input"
    ),
    Invariant(ops.Diff, lambda v: _within(v, _field("lower")(v), _field("upper")(v)), "diff: no such input"),
    Invariant(ops.Build, lambda v: _within(v, _field("builder")(v)), "build.builder: no such input"),
    Invariant(
        ops.Build, lambda v: _within(v, *getattr(v.op, "inputs", {}).values()), "build.inputs: no such input"
    ),
    Invariant(
        ops.Passthrough,
        lambda v: _within(v, *getattr(v.op, "outputs", ()), least=0),
        "passthrough.outputs: no such input",
    ),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """A rule that a vertex breaks."""

    digest: str
    message: str


def problems(graph: Graph) -> Iterator[Problem]:
    """Yield every rule that a vertex breaks, in the order of the vertices."""
    by_kind: dict[type[object], list[Invariant]] = {}
    for vertex in graph:
        kind = type(vertex.op)
        if kind not in by_kind:
            by_kind[kind] = [rule for rule in RULES if issubclass(kind, rule.kind)]
        for rule in by_kind[kind]:
            if not rule.holds(vertex):
                yield Problem(vertex.digest, rule.message)


def verify(graph: Graph) -> None:
    """Check every rule on every vertex.

    Raises:
        DefinitionError: names the first op and field that break a rule.
    """
    for problem in problems(graph):
        raise DefinitionError(f"op {problem.digest}: {problem.message}")
