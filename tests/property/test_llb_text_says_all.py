# SPDX-License-Identifier: Apache-2.0
"""The text of an op tells it from every other: whatever differs, however little, is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.drawn_ops import BUILDS, COUNT, DIFFS, EXECS, FILE_OPS_OF_ONE_KIND, MERGES, SOURCES, graphs

from llbkit.llb import text
from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Edge, Graph, Vertex

BELOW = tuple(Vertex.make(ops.Source(identifier=f"local://{number}")) for number in range(COUNT))


def _text(op: ops.Op) -> str:
    inputs = () if isinstance(op, ops.Source) else tuple(Edge(vertex) for vertex in BELOW)
    top = Vertex.make(op, inputs)
    return text.render(Graph(vertices=(*BELOW, top), head=Edge(top)))


def _steps(one: Any, other: Any) -> Iterator[Any]:
    """Yield every value that is ``one`` but for a single leaf, which is ``other``'s."""
    if is_dataclass(one) and not isinstance(one, type) and type(one) is type(other):
        for item in fields(one):
            for value in _steps(getattr(one, item.name), getattr(other, item.name)):
                yield replace(one, **{item.name: value})
    elif isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            for value in _steps(left, right):
                yield (*one[:number], value, *one[number + 1 :])
    elif one != other:
        yield other


@settings(max_examples=250, deadline=None)
@given(
    st.one_of(
        *(st.tuples(kind, kind) for kind in (EXECS, *FILE_OPS_OF_ONE_KIND, MERGES, DIFFS, BUILDS, SOURCES))
    )
)
def test_ops_that_differ_in_one_field_have_different_texts(pair: tuple[ops.Op, ops.Op]) -> None:
    one, other = pair
    said = _text(one)
    for changed in _steps(one, other):
        if _is_sound(changed):
            assert _text(changed) != said, changed


def _is_sound(op: ops.Op) -> bool:
    """Whether each mount has the option of its kind and no other, as the rules for graphs and the builder have it."""
    if not isinstance(op, ops.Exec):
        return True
    options = {ops.MountType.CACHE: "cache", ops.MountType.SECRET: "secret", ops.MountType.SSH: "ssh"}
    return all(
        (getattr(mount, option) is not None) == (mount.mount_type is kind)
        for mount in op.mounts
        for kind, option in options.items()
    )


@settings(deadline=None)
@given(graphs())
def test_a_graph_is_one_block_a_vertex(graph: Graph) -> None:
    lines = text.render(graph).split("\n")
    assert lines[-1] == ""
    assert sum(line.startswith("%") for line in lines) == len(graph)
    assert sum(line.startswith("head %") for line in lines) == 1
    assert all(line.startswith(("%", "  ", "head ", "@", "located")) or not line for line in lines)
