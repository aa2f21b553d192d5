# SPDX-License-Identifier: Apache-2.0
"""Each rule rejects what breaks it, in built graphs and in decoded ones, and names op and field."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from llbkit.llb.errors import DefinitionError
from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Edge, Graph, Vertex
from llbkit.llb.ir.verify import RULES, verify
from llbkit.llb.wire import decode, encode

BASE = Vertex.make(ops.Source(identifier="docker-image://docker.io/library/alpine:3.20"))
META = ops.Meta(args=("true",))
ROOT = ops.Mount(dest="/")
NOBODY = ops.NamedUser(name="nobody", input=1)


def _file(*actions: ops.FileAction) -> ops.File:
    return ops.File(actions=actions)


def _mkdir(owner: ops.Chown | None = None, **places: int) -> ops.FileAction:
    return ops.FileAction(action=ops.MkDir(path="/a", owner=owner), **places)


def _exec(*mounts: ops.Mount) -> ops.Exec:
    return ops.Exec(meta=META, mounts=(ROOT, *mounts))


def _mount(kind: ops.MountType) -> ops.Mount:
    return ops.Mount(dest="/m", input=-1, output=-1, mount_type=kind)


BROKEN = [
    (ops.Exec(meta=ops.Meta(args=()), mounts=(ROOT,)), "exec.meta.args: must not be empty"),
    (ops.Exec(meta=META, mounts=(replace(ROOT, dest="/x"),)), 'exec.mounts: no mount with dest "/"'),
    (_exec(ops.Mount(dest="/m", input=1)), "exec.mounts: no such input"),
    (_exec(ops.Mount(dest="/m", input=-2)), "exec.mounts: no such input"),
    (_exec(_mount(ops.MountType.CACHE)), "exec.mounts: cache mount without cacheOpt"),
    (_exec(_mount(ops.MountType.SECRET)), "exec.mounts: secret mount without secretOpt"),
    (_exec(_mount(ops.MountType.SSH)), "exec.mounts: ssh mount without SSHOpt"),
    (ops.Source(identifier="alpine"), "source.identifier: missing scheme"),
    (ops.Source(identifier="local://x"), "source: must not have inputs"),
    (_file(), "file.actions: must not be empty"),
    (_file(_mkdir(input=1)), "file.actions: no such input or action"),
    (_file(_mkdir(), _mkdir(input=3)), "file.actions: no such input or action"),
    (_file(_mkdir(input=-2)), "file.actions: no such input or action"),
    (_file(_mkdir(secondary_input=1)), "file.actions: no such input or action"),
    (_file(_mkdir(ops.Chown(user=NOBODY))), "file.actions.owner: no such input"),
    (_file(_mkdir(), _mkdir(ops.Chown(user=0, group=NOBODY))), "file.actions.owner: no such input"),
    (ops.Merge(inputs=(0, 1)), "merge.inputs: no such input"),
    (ops.Merge(inputs=(-1,)), "merge.inputs: no such input"),
    (ops.Diff(lower=1, upper=0), "diff: no such input"),
    (ops.Diff(lower=0, upper=-2), "diff: no such input"),
    (ops.Build(builder=1), "build.builder: no such input"),
    (ops.Build(inputs={"x": 1}), "build.inputs: no such input"),
    (ops.Passthrough(id="p", outputs=(1,)), "passthrough.outputs: no such input"),
    (ops.Passthrough(id="p", outputs=(-1,)), "passthrough.outputs: no such input"),
]
SOUND: list[ops.Op] = [
    _exec(ops.Mount(dest="/m", input=-1)),
    _exec(replace(_mount(ops.MountType.CACHE), cache=ops.CacheOpt(id="c"))),
    _exec(_mount(ops.MountType.TMPFS)),
    _file(_mkdir(), _mkdir(input=1, secondary_input=-1)),
    _file(_mkdir(ops.Chown(user=replace(NOBODY, input=-1), group=replace(NOBODY, input=0)))),
    ops.Diff(lower=-1, upper=0),
    ops.Merge(inputs=(0, 0)),
    ops.Build(inputs={"x": -1}),
    ops.Passthrough(id="p", outputs=(0,)),
]


def _graph(op: ops.Op) -> Graph:
    top = Vertex.make(op, (Edge(BASE),))
    return Graph(vertices=(BASE, top), head=Edge(top))


def _says(graph: Graph, message: str) -> str:
    assert graph.head is not None
    return "^" + re.escape(f"op {graph.head.vertex.digest}: {message}") + "$"


@pytest.mark.parametrize("check", [verify, lambda graph: decode(encode(graph))], ids=["built", "decoded"])
@pytest.mark.parametrize(("op", "message"), BROKEN, ids=[f"{n}-{m}" for n, (_, m) in enumerate(BROKEN)])
def test_a_broken_rule_is_named(op: ops.Op, message: str, check: Callable[[Graph], object]) -> None:
    graph = _graph(op)
    with pytest.raises(DefinitionError, match=_says(graph, message)):
        check(graph)


def test_a_negative_output_index_is_refused() -> None:
    top = Vertex.make(ops.Merge(inputs=(0,)), (Edge(BASE, -1),))
    graph = Graph(vertices=(BASE, top), head=Edge(top))
    with pytest.raises(DefinitionError, match=_says(graph, "inputs: negative output index")):
        verify(graph)


def test_every_rule_has_a_case() -> None:
    shown = {message for _, message in BROKEN} | {"inputs: negative output index"}
    assert {rule.message for rule in RULES} == shown


@pytest.mark.parametrize("op", SOUND, ids=lambda op: type(op).__name__)
def test_scratch_inputs_and_earlier_actions_are_sound(op: ops.Op) -> None:
    verify(_graph(op))
