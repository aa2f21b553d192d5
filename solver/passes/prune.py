# SPDX-License-Identifier: Apache-2.0
"""Drop vertices that the head does not reach."""

from __future__ import annotations

from dataclasses import replace

from llb.graph import Graph
from llb.walk import postorder


def prune(graph: Graph) -> Graph:
    """Return the graph of what the head reaches, in the same order.

    Before: ``a; b; c(a)`` with head ``c``. After: ``a; c(a)``. Results are equal because a vertex's result is a function
    of its own op and its inputs only.
    """
    if graph.head is None:
        return graph if not graph.vertices else replace(graph, vertices=())
    wanted = set(postorder([graph.head.vertex], lambda vertex: [edge.vertex for edge in vertex.inputs]))
    if len(wanted) == len(graph.vertices):
        return graph
    return replace(graph, vertices=tuple(vertex for vertex in graph.vertices if vertex in wanted))
