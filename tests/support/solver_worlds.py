# SPDX-License-Identifier: Apache-2.0
"""Any graphs of the fake worker, and any timing."""

from __future__ import annotations

from hypothesis import strategies as st

from llbkit.llb.ir.graph import Edge, Vertex
from llbkit.records import dataclass
from llbkit.solver.fake import name_in, number, total

SECONDS = st.sampled_from([0.0, 0.0, 1.0, 2.5])


@dataclass
class World:
    """Vertices (each may use all before it), and how vertices of a name behave."""

    vertices: list[Vertex]
    outputs: dict[Vertex, int]
    volatile: frozenset[str]

    def edges(self) -> list[Edge]:
        return [Edge(v, index) for v in self.vertices for index in range(self.outputs[v])]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    world = World([], {}, frozenset())
    for index in range(draw(st.integers(1, 10))):
        name = f"v{index}"
        if not world.vertices or draw(st.integers(0, 2)) == 0:
            vertex, outputs = number(name, draw(st.integers(0, 2))), 1
            if draw(st.booleans()):
                world.volatile |= {name}
        else:
            inputs = draw(st.lists(st.sampled_from(world.edges()), min_size=1, max_size=3))
            content = draw(st.sets(st.integers(0, len(inputs) - 1)))
            outputs = draw(st.sampled_from([1, 1, 1, 2]))
            # Few salts and no name of its own: different vertices can look the same to the store.
            vertex = total(draw(st.sampled_from([name, "same"])), *inputs, content=content, outputs=outputs)
        if vertex not in world.outputs:
            world.vertices.append(vertex)
            world.outputs[vertex] = outputs
    return world


def names(vertices: list[Vertex]) -> list[str]:
    return [name_in(vertex) for vertex in vertices]


@st.composite
def schedules(draw: st.DrawFn, world: World) -> dict[str, object]:
    """How long everything takes, and what only this worker cannot do."""
    all_names = names(world.vertices)
    times = st.fixed_dictionaries(dict.fromkeys(all_names, SECONDS))
    return {
        "delays": draw(times),
        "key_delays": draw(times),
        "look_delays": draw(times),
        "unsaved": frozenset(draw(st.sets(st.sampled_from(all_names), max_size=1))),
        "needs": draw(st.sampled_from([{}, {"exec": 1}])),
    }
