# SPDX-License-Identifier: Apache-2.0
"""Fuse chains of file ops whose intermediate layers are not observable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import ClassVar

from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import NO_METADATA, Edge, Graph, Metadata, Vertex
from llbkit.records import dataclass
from llbkit.solver.passes.empty_actions import without_empty
from llbkit.solver.passes.rewrite import (
    Note,
    Part,
    Rewritten,
    Seen,
    rebuild,
    title,
    unchanged,
    understood,
    with_inputs,
)
from llbkit.solver.passes.unused import moved
from llbkit.solver.passes.visibility import Use, seen_of, uses

_MOST_NAMES = 4


@dataclass(frozen=True, slots=True)
class Fuse:
    """Apply the actions of several file ops in one, on one writable file system, with one commit.

    Before: ``a = file(base): mkdir /d; b = file(a): copy src /f /d/f; exec(root, mount b, read only)``.
    After: ``b = file(base): mkdir /d, copy src /f /d/f; exec(root, mount b, read only)``.

    ``head`` says what of the head is seen. A lower op is fused into the upper one that stands on it if

    - the only use of the lower one is as the base of the upper one: it is not the head, and nothing copies from it, mounts it, merges it
      or looks owners up in it;
    - the upper one is used for its files only (`llbkit.solver.passes.visibility`), or is fused, or stands below such a chain, itself;
    - the lower one has one result, and the upper one begins with it, once;
    - both are cached, exported, grouped and placed alike, and hold no unknown wire fields;
    - at most one of the ops that become one copies anything.

    *Results are equal:* the actions are the same, in the same order, on the same tree. What differs is how many layers the
    tree lies in, and the first two conditions say that nobody can tell: whoever reads the files gets the same ones, and
    whoever could see layers is a use that forbids it. So every layer of an exported image is as it was.

    *Nothing is made twice:* the users of such files are known by content, so they are found in the cache whether or not
    the files were made by a fused op; and no process stands on fused layers, so none runs again when another build
    does not fuse (a target that is exported itself). Since only one of the ops copies, a change to what one op copies
    never makes another copy be made again.

    *Names, lines and errors:* the fused step is called by both names (of many: first, last and how many) and has all lines; ``parts`` tells which action
    comes from which step, so a failure is shown at its own line.
    """

    name: ClassVar[str] = "fuse"
    head: Seen = Seen.LAYERS

    def run(self, graph: Graph) -> Rewritten:
        """Return the graph with such chains fused."""
        chains = _Chains(graph, self.head).find()
        if graph.head is None or not chains:
            return unchanged(graph)
        fusion = _Fusion(graph)
        inside = {vertex for chain in chains.values() for vertex in chain[:-1]}
        for vertex in graph.vertices:
            if vertex in chains:
                fusion.fuse(chains[vertex])
            elif vertex not in inside and not fusion.move(vertex):
                return unchanged(graph)  # it would keep the chain below it, beside the fused one
        return fusion.rewritten(graph.head, self.name)


@dataclass(slots=True)
class _Fusion:
    """The graph after fusing, as far as it is made: what vertices became, and how users learn of it."""

    graph: Graph
    _became: dict[Vertex, Vertex] = field(default_factory=dict)
    _whole: dict[Vertex, Vertex] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)
    _parts: dict[str, tuple[Part, ...]] = field(default_factory=dict)
    _notes: list[Note] = field(default_factory=list)

    def fuse(self, chain: Sequence[Vertex]) -> None:
        """Make one vertex of a chain."""
        graph, top = self.graph, chain[-1]
        op, inputs, origins = _joined(chain)
        edges = tuple(self._edge(item) for item in inputs)
        fused = Vertex.make(op, edges, platform=top.platform, constraints=top.constraints)
        self._became[top] = fused
        self._whole |= dict.fromkeys(chain, fused)
        self._names[fused.digest] = _name([title(graph, one) for one in chain])
        self._parts[fused.digest] = tuple(
            Part(title(graph, one), graph.spans_of(one.digest)) for one in origins
        )
        into = f'merged into its only user, "{title(graph, top)}"'
        self._notes += [Note(graph, one, into) for one in chain[:-1]]

    def move(self, vertex: Vertex) -> bool:
        """Put a vertex onto what its inputs became; false if it cannot stand there."""
        if any(item.vertex in self._became for item in vertex.inputs):
            after = with_inputs(vertex, vertex.op, [self._edge(item) for item in vertex.inputs])
            if after is None:
                return False
            self._became[vertex] = self._whole[vertex] = after
        return True

    def rewritten(self, head: Edge, name: str) -> Rewritten:
        """Return the new graph, made by the pass ``name``."""
        return Rewritten(
            graph=rebuild(self.graph, self._edge(head), self._whole, self._names),
            moved={old.digest: new.digest for old, new in self._whole.items()},
            hits={name: len(self._notes)},
            notes=tuple(self._notes),
            parts=self._parts,
        )

    def _edge(self, old: Edge) -> Edge:
        return Edge(self._became[old.vertex], old.index) if old.vertex in self._became else old


@dataclass(slots=True)
class _Chains:
    """Looks for the ops to fuse, users first: each chain is collected from its top down."""

    graph: Graph
    head: Seen
    _uses: dict[Vertex, Use] = field(default_factory=dict)
    _users: dict[Vertex, int] = field(default_factory=dict)

    def find(self) -> Mapping[Vertex, Sequence[Vertex]]:
        """Return the chains by their top, each from its bottom up; none has less than two ops."""
        files = [vertex for vertex in self.graph.vertices if isinstance(vertex.op, ops.File)]
        on_files = any(isinstance(edge.vertex.op, ops.File) for vertex in files for edge in vertex.inputs)
        if not on_files:
            return {}
        self._uses = seen_of(self.graph, self.head)
        for vertex in self.graph.vertices:
            for item in vertex.inputs:
                self._users[item.vertex] = self._users.get(item.vertex, 0) + 1
        if self.graph.head is not None:
            top = self.graph.head.vertex
            self._users[top] = self._users.get(top, 0) + 1
        unseen = {
            vertex for vertex in files if self._uses.get(vertex) is Use.FILES and _has_one_result(vertex)
        }
        chains: dict[Vertex, Sequence[Vertex]] = {}
        taken: set[Vertex] = set()
        for top in reversed(self.graph.vertices):
            if top not in unseen or top in taken:
                continue
            chain = [top]
            while (below := self._below(chain[-1])) is not None:
                if copies(below) and any(copies(one) for one in chain):
                    unseen.add(below)  # it starts a chain of its own: its layers are not observable either
                    break
                chain.append(below)
            taken.update(chain)
            if len(chain) > 1:
                chains[top] = chain[::-1]
        return chains

    def _below(self, upper: Vertex) -> Vertex | None:
        """Return the op that can be fused into ``upper``."""
        first = _actions(upper)[0].input
        if not 0 <= first < len(upper.inputs):
            return None
        lower = upper.inputs[first].vertex
        fits = (
            isinstance(lower.op, ops.File)
            and self._users[lower] == 1
            and self._uses[lower] is Use.BASE
            and uses(upper)[first] is Use.BASE
            and _stands_once(upper, first)
            and _has_one_result(lower)
            and upper.inputs[first].index == 0
            and (upper.platform, upper.constraints) == (lower.platform, lower.constraints)
            and self._alike(upper, lower)
        )
        return lower if fits and understood(upper) and understood(lower) else None

    def _alike(self, upper: Vertex, lower: Vertex) -> bool:
        one, other = (_unnamed(self.graph.metadata_of(vertex.digest)) for vertex in (upper, lower))
        return one == other


def _name(steps: Sequence[str]) -> str:
    if len(steps) > _MOST_NAMES:
        steps = [steps[0], f"{len(steps) - 2} more", steps[-1]]
    return " + ".join(steps)


def copies(vertex: Vertex) -> bool:
    """Whether a file op copies anything."""
    return any(isinstance(item.action, ops.Copy) for item in _actions(vertex))


def _actions(vertex: Vertex) -> tuple[ops.FileAction, ...]:
    assert isinstance(vertex.op, ops.File), "only file ops are fused"
    return vertex.op.actions


def _stands_once(upper: Vertex, index: int) -> bool:
    """Whether just the first action has input ``index`` as its base."""
    return [item.input for item in _actions(upper)].count(index) == 1


def _has_one_result(vertex: Vertex) -> bool:
    """Whether the only result is that of the last action."""
    *inner, last = _actions(vertex)
    return last.output == 0 and all(item.output < 0 for item in inner)


def _unnamed(metadata: Metadata) -> Metadata:
    """Return what of metadata decides how a step is executed, cached and shown: names, words and caps do not."""
    return replace(metadata, description=NO_METADATA.description, caps=())


def _joined(chain: Sequence[Vertex]) -> tuple[ops.File, list[Edge], list[Vertex]]:
    """Return one file op with the actions of a chain, its inputs, each once, and where each action comes from."""
    inputs: dict[Edge, int] = {}
    for number, vertex in enumerate(chain):
        for index, edge in enumerate(vertex.inputs):
            if number == 0 or index != _actions(vertex)[0].input:
                inputs.setdefault(edge, len(inputs))
    count = len(inputs)
    actions: list[ops.FileAction] = []
    for number, vertex in enumerate(chain):
        own = len(vertex.inputs)
        base = _actions(vertex)[0].input if number else -1
        place = {index: inputs[edge] for index, edge in enumerate(vertex.inputs) if index != base}
        if number:
            place[base] = count + len(actions) - 1
        done = len(actions)
        for item in _actions(vertex):
            action = moved(item, place, own, own - count - done)
            actions.append(replace(action, output=-1))
    actions[-1] = replace(actions[-1], output=0)
    origins = [vertex for vertex in chain for _ in _actions(vertex)]
    op, kept = without_empty(ops.File(actions=tuple(actions)), count)
    return op, list(inputs), [origins[number] for number in kept]
