# SPDX-License-Identifier: Apache-2.0
"""For any graph and any schedule, values are those of a naive evaluator and each distinct vertex runs once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from support.solving import solve

from llb import ops
from llb.graph import Vertex
from llb.walk import postorder
from solver.cache.memory import MemoryStore
from solver.fake import FakeWorker, number, total


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Vertex], dict[str, float], frozenset[str]]:
    """Return vertices (each may use all before it), delays by name, and names of volatile sources."""
    count = draw(st.integers(1, 12))
    made: list[Vertex] = []
    delays: dict[str, float] = {}
    volatile = set()
    for index in range(count):
        name = f"v{index}"
        delays[name] = draw(st.sampled_from([0.0, 1.0, 2.5]))
        if not made or draw(st.booleans()):
            made.append(number(name, draw(st.integers(0, 2))))
            if draw(st.booleans()):
                volatile.add(name)
        else:
            inputs = draw(st.lists(st.sampled_from(made), min_size=1, max_size=3))
            content = draw(st.sets(st.integers(0, len(inputs) - 1)))
            made.append(total(name, *inputs, content=sorted(content)))
    return made, delays, frozenset(volatile)


def naive(vertex: Vertex) -> int:
    values: dict[Vertex, int] = {}
    for item in postorder([vertex], lambda v: [edge.vertex for edge in v.inputs]):
        if isinstance(item.op, ops.Source):
            values[item] = int(item.op.identifier.partition("value=")[2].partition("&")[0])
        else:
            values[item] = sum(values[edge.vertex] for edge in item.inputs)
    return values[vertex]


@settings(max_examples=150, deadline=None)
@given(graphs(), st.data())
def test_values_equal_a_naive_evaluation_and_nothing_runs_twice(drawn, data) -> None:
    vertices, delays, volatile = drawn
    heads = data.draw(st.lists(st.sampled_from(vertices), min_size=1, max_size=3))
    store = MemoryStore()
    if data.draw(st.booleans()):
        earlier = data.draw(st.sampled_from(vertices))
        solve(FakeWorker(delays=delays, volatile=volatile), earlier, store=store)
    worker = FakeWorker(delays=delays, volatile=volatile)
    assert solve(worker, *heads, store=store) == [naive(head) for head in heads]
    assert all(count == 1 for count in worker.calls.values())
    again = FakeWorker(delays=delays, volatile=volatile)
    assert solve(again, *heads, store=store) == [naive(head) for head in heads]
    unidentified = {name for name in again.calls if name not in volatile}
    below_volatile = {
        item.op.meta.args[1]
        for item in vertices
        if isinstance(item.op, ops.Exec) and _volatile_without_content(item, volatile)
    }
    assert unidentified <= below_volatile


def _volatile_without_content(vertex: Vertex, volatile: frozenset[str]) -> bool:
    """Tell whether the vertex, or one below it, uses a volatile source in a way that no content key identifies."""
    for item in postorder([vertex], lambda v: [edge.vertex for edge in v.inputs]):
        if not isinstance(item.op, ops.Exec):
            continue
        for edge, mount in zip(item.inputs, item.op.mounts, strict=False):
            if mount.readonly or not isinstance(edge.vertex.op, ops.Source):
                continue
            if edge.vertex.op.identifier.removeprefix("int://").partition("?")[0] in volatile:
                return True
    return False
