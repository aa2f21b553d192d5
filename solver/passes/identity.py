# SPDX-License-Identifier: Apache-2.0
"""Remove merges and diffs whose result is one of their inputs, or empty."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, TypeAlias

from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Edge, Graph, Vertex
from llbkit.records import dataclass
from llbkit.solver.passes.rewrite import Note, Rewritten, rebuild, unchanged, with_inputs
from llbkit.solver.passes.unused import moved as moved_action
from llbkit.solver.passes.visibility import named_inputs

_Result: TypeAlias = "Edge | None"
"""What an edge has become; None is scratch."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Replace a merge of one by its input, a diff from scratch by its upper, and a diff of the same by scratch.

    ========================  ================  ========================================================
    before                    after             because
    ========================  ================  ========================================================
    ``merge(a)``              ``a``             laying one stack of layers over nothing gives that stack
    ``diff(scratch, a)``      ``a``             over nothing, all of a stack is new
    ``diff(a, a)``            scratch           nothing of a stack is new over itself
    ``merge(scratch, a, b)``  ``merge(a, b)``   scratch has no layers to lay over or under others
    output of a read-only     ``a``             nothing can be written there, so it is what is mounted
    mount of ``a``
    ========================  ================  ========================================================

    In each row both sides are the same stack of layers, so the layers of what is exported are the same, one by one.

    Scratch takes the place of an edge only where an op can say so and means the same (the members of a merge, both sides of
    a diff, the base of a file action, the head); for other users the diff stays. A local directory is never put in the place
    of a merge or diff: it is known by its content only, which not every user can go by, while the merge's result has a
    key for all of them. A user with wire fields that are not understood keeps everything below it.
    """

    name: ClassVar[str] = "identity"

    def run(self, graph: Graph) -> Rewritten:
        """Return the graph without such merges and diffs; all of them go in one run."""
        if graph.head is None or not any(_is_candidate(vertex) for vertex in graph.vertices):
            return unchanged(graph)
        walk = _Walk()
        for vertex in graph.vertices:
            walk.visit(vertex)
        head = walk.result(graph.head)
        if head == graph.head or not (walk.hits or walk.passed):
            return unchanged(graph)
        successors = {
            old: new.vertex for old, new in walk.became.items() if new is not None and new.vertex != old
        }
        moved = {old.digest: new.digest for old, new in successors.items()}
        # What was taken out leaves its name and lines behind: its successor has its own.
        inherits = {old: new for old, new in successors.items() if old not in walk.hits}
        rebuilt = rebuild(graph, head, {**walk.solid, **inherits})
        left = set(rebuilt.vertices)
        notes = tuple(Note(graph, vertex, _reason(vertex)) for vertex in walk.hits if vertex not in left)
        notes += tuple(
            Note(
                graph,
                vertex,
                "a read-only mount is never written: its output is replaced by its input",
            )
            for vertex in walk.passed
        )
        if not notes:
            return unchanged(graph)
        return Rewritten(graph=rebuilt, moved=moved, hits={self.name: len(notes)}, notes=notes)


def _reason(vertex: Vertex) -> str:
    match vertex.op:
        case ops.Merge():
            return "a merge of at most one input is that input"
        case ops.Diff(lower=lower) if lower < 0:
            return "a diff against scratch is its upper input"
        case _:
            return "a diff against itself is empty"


def _is_candidate(vertex: Vertex) -> bool:
    match vertex.op:
        case ops.Merge(inputs=inputs):
            return len(inputs) == 1
        case ops.Diff(lower=lower, upper=upper):
            return lower < 0 or (upper >= 0 and vertex.inputs[lower] == vertex.inputs[upper])
        case ops.Exec(mounts=mounts):
            return any(_passes_on(mount) for mount in mounts)
        case _:
            return False


def _passes_on(mount: ops.Mount) -> bool:
    """Whether a mount's output is what is mounted: not that of the root, in which mount points are made."""
    bind = mount.readonly and mount.mount_type is ops.MountType.BIND
    return (
        bind and mount.output >= 0 and mount.input >= 0 and posixpath.normpath(mount.dest) not in ("/", "//")
    )


class _Walk:
    """What each vertex has become, inputs before users. A vertex that stays has become its own first output.

    ``solid`` holds, of what has become scratch, the vertex for users that cannot say scratch.
    """

    def __init__(self) -> None:
        self.became: dict[Vertex, _Result] = {}
        self.hits: dict[Vertex, None] = {}
        self.solid: dict[Vertex, Vertex] = {}
        self.passed: dict[Vertex, None] = {}
        self._sources: dict[Edge, Edge] = {}

    def result(self, edge: Edge) -> _Result:
        edge = self._mounted(edge)
        new = self.became[edge.vertex]
        if edge.vertex in self.hits:
            return new
        assert new is not None, "only removed vertices become scratch"
        return Edge(new.vertex, edge.index)

    def visit(self, vertex: Vertex) -> None:
        inputs = [self.result(edge) for edge in vertex.inputs]
        changed = self._without_scratch(vertex, inputs) if None in inputs else None
        if changed is None:
            changed = self._with_solid(vertex)
        if changed is None:
            self._keep(vertex)
            return
        kept, outcome = _simplify(changed)
        if not kept:
            self.hits[vertex] = None
        if outcome is None:
            self.solid[vertex] = self._with_solid(vertex) or vertex
        self.became[vertex] = outcome

    def _mounted(self, edge: Edge) -> Edge:
        """Return what is mounted where an edge is the output of a read-only mount; it may be such an output again."""
        op = edge.vertex.op
        if not isinstance(op, ops.Exec):
            return edge
        if edge not in self._sources:
            self._sources[edge] = edge
            for mount in op.mounts:
                if mount.output == edge.index and _passes_on(mount):
                    below = edge.vertex.inputs[mount.input]
                    source = self._sources.get(below, below)  # known, for the exec was visited
                    if not _is_local(source.vertex):
                        self._sources[edge] = source
                        self.passed[edge.vertex] = None
        return self._sources[edge]

    def _with_solid(self, vertex: Vertex) -> Vertex | None:
        """Return a vertex on what its inputs have become, scratch as what it was before."""
        inputs = [self.result(edge) or self._as_solid(self._mounted(edge)) for edge in vertex.inputs]
        return vertex if inputs == list(vertex.inputs) else with_inputs(vertex, vertex.op, inputs)

    def _as_solid(self, edge: Edge) -> Edge:
        return Edge(self.solid[edge.vertex], edge.index)

    def _keep(self, vertex: Vertex) -> None:
        """Leave a vertex, and so everything below it, as it was."""
        self.became[vertex] = Edge(vertex)

    def _without_scratch(self, vertex: Vertex, inputs: Sequence[_Result]) -> Vertex | None:
        gone = [number for number, new in enumerate(inputs) if new is None]
        left = [number for number, new in enumerate(inputs) if new is not None]
        place = {old: new for new, old in enumerate(left)} | dict.fromkeys(gone, -1)
        op = _renumbered(vertex.op, place, len(inputs), len(gone))
        if op is None:
            return None
        return with_inputs(vertex, op, [edge for edge in inputs if edge is not None])


def _simplify(vertex: Vertex) -> tuple[bool, _Result]:
    """Return whether a vertex stays, and what it becomes."""
    source: _Result = None
    match vertex.op:
        case ops.Merge(inputs=()):
            return False, None
        case ops.Merge(inputs=(only,)):
            source = vertex.inputs[only]
        case ops.Diff(lower=lower, upper=upper) if upper < 0 and lower < 0:
            return False, None
        case ops.Diff(lower=lower, upper=upper) if lower < 0:
            source = vertex.inputs[upper]
        case ops.Diff(lower=lower, upper=upper) if (
            upper >= 0 and vertex.inputs[lower] == vertex.inputs[upper]
        ):
            return False, None
        case _:
            return True, Edge(vertex)
    if _is_local(source.vertex):
        return True, Edge(vertex)
    return False, source


def _is_local(vertex: Vertex) -> bool:
    return isinstance(vertex.op, ops.Source) and vertex.op.identifier.startswith("local://")


def _renumbered(op: ops.Op, place: Mapping[int, int], count: int, gone: int) -> ops.Op | None:
    """Return an op whose input ``i`` is now number ``place[i]`` (-1: scratch); None if it cannot be expressed.

    ``count`` inputs there were, ``gone`` of them are now scratch.
    """
    match op:
        case ops.Merge():
            return replace(op, inputs=tuple(place[i] for i in op.inputs if place[i] >= 0))
        case ops.Diff():
            return replace(op, lower=place.get(op.lower, -1), upper=place.get(op.upper, -1))
        case ops.File():
            return _renumbered_file(op, place, count, gone)
        case _:
            return None


def _renumbered_file(op: ops.File, place: Mapping[int, int], count: int, gone: int) -> ops.File | None:
    if any(place.get(action.secondary_input) == -1 for action in op.actions):
        return None  # to copy from scratch is not the same as to copy from an empty directory
    if any(place.get(index) == -1 for action in op.actions for index in named_inputs(action.action)):
        return None  # nor is it to look up owners
    return replace(op, actions=tuple(moved_action(action, place, count, gone) for action in op.actions))
