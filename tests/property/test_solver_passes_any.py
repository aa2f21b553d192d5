# SPDX-License-Identifier: Apache-2.0
"""Passes on any graph: the same stack of layers, never more vertices, and nothing left to do afterwards."""

from __future__ import annotations

from hypothesis import event, given, settings
from hypothesis import strategies as st

from llb import ops
from llb.graph import Edge, Graph, Vertex
from llb.verify import verify
from llb.walk import postorder
from solver import passes

Stack = tuple[str, ...]


def stack_of(head: Edge | None) -> Stack:
    """Evaluate a graph to the names of its layers, bottom first, as a worker of stacks does."""
    if head is None:
        return ()
    stacks: dict[Vertex, Stack] = {}

    def layers(vertex: Vertex, index: int) -> Stack:
        return stacks[vertex.inputs[index].vertex] if index >= 0 else ()

    for vertex in postorder([head.vertex], lambda v: [edge.vertex for edge in v.inputs]):
        match vertex.op:
            case ops.Source(identifier=identifier):
                stacks[vertex] = (f"{identifier} 1", f"{identifier} 2")
            case ops.Merge(inputs=inputs):
                stacks[vertex] = tuple(layer for index in inputs for layer in layers(vertex, index))
            case ops.Diff(lower=lower, upper=upper):
                below, above = layers(vertex, lower), layers(vertex, upper)
                grown = above[: len(below)] == below
                stacks[vertex] = above[len(below) :] if grown else (f"difference of {below} and {above}",)
            case ops.Exec(meta=meta, mounts=mounts):
                shown = [layers(vertex, mount.input) for mount in mounts]
                stacks[vertex] = (*shown[0], f"{meta.args} on {shown}")
            case ops.File(actions=actions):
                done: list[Stack] = []
                for action in actions:
                    base, other = (
                        done[index - len(vertex.inputs)]
                        if index >= len(vertex.inputs)
                        else layers(vertex, index)
                        for index in (action.input, action.secondary_input)
                    )
                    done.append((*base, f"{action.action} of {other} from {action.secondary_input < 0}"))
                stacks[vertex] = done[-1]
            case _:
                raise AssertionError("not drawn")
    return stacks[head.vertex]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    made = [
        Vertex.make(ops.Source(identifier="docker-image://a")),
        Vertex.make(ops.Source(identifier="local://context")),
    ]
    for _ in range(draw(st.integers(0, 12))):
        some = st.sampled_from(made)
        kind = draw(st.sampled_from(["merge", "merge", "diff", "diff", "exec", "file"]))
        match kind:
            case "merge":
                inputs = draw(st.lists(some, min_size=1, max_size=3))
                op: ops.Op = ops.Merge(inputs=tuple(range(len(inputs))))
            case "diff":
                inputs = draw(st.lists(some, min_size=1, max_size=2))
                op = ops.Diff(lower=-1 if len(inputs) == 1 else 0, upper=len(inputs) - 1)
                if draw(st.booleans()) and len(inputs) == 2:
                    inputs[1] = inputs[0]
            case "exec":
                inputs = draw(st.lists(some, min_size=1, max_size=2))
                mounts = tuple(
                    ops.Mount(dest=f"/{i or ''}", input=i, output=0 if i == 0 else -1)
                    for i in range(len(inputs))
                )
                op = ops.Exec(meta=ops.Meta(args=(draw(st.sampled_from("xy")),)), mounts=mounts)
            case _:
                inputs = draw(st.lists(some, min_size=2, max_size=2))
                copies = (
                    ops.FileAction(
                        action=ops.Copy(src="/a", dest="/b"), input=0, secondary_input=1, output=-1
                    ),
                    ops.FileAction(action=ops.Rm(path="/r"), input=2, secondary_input=-1, output=0),
                )
                op = ops.File(actions=draw(st.sampled_from([copies, copies[:1]])))
        made.append(Vertex.make(op, tuple(Edge(vertex) for vertex in inputs)))
    return Graph(vertices=tuple(dict.fromkeys(made)), head=Edge(draw(st.sampled_from(made))))


@settings(max_examples=400, deadline=None)
@given(graphs())
def test_results_are_the_same_and_nothing_is_left_to_do(before: Graph) -> None:
    done = passes.run(before)
    after = done.graph
    assert stack_of(after.head) == stack_of(before.head)
    assert len(after) <= len(before)
    verify(after)
    assert passes.optimize(after) is after
    known = {vertex.digest for vertex in before.vertices}
    assert set(done.moved) <= known
    assert (after is before) == (not done.hits)
    event(f"{done.hits.get('identity', 0)} taken out")
