# SPDX-License-Identifier: Apache-2.0
"""Match the vertices of two graphs, for `llbkit.llb.tools.compare`, which documents the order of the criteria."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from functools import cached_property

from llbkit.llb.draw.picture import picture
from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Graph, Metadata, Vertex

_SESSION = ("local.session", "local.unique")
_ALIKE = 0.8
_COMMON = 24  # a word shared by more vertices than this does not identify one
_WORD = re.compile(r"[\w.+-]+")


class Side:
    """One graph, prepared: for each vertex its number, normal digest, own bytes, label, stage and neighbours."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.vertices = graph.vertices
        self.numbers = {vertex.digest: number for number, vertex in enumerate(graph.vertices)}
        self.inputs = [
            [(self.numbers[edge.vertex.digest], edge.index) for edge in vertex.inputs] for vertex in graph
        ]
        self.users: list[list[int]] = [[] for _ in graph.vertices]
        for number, inputs in enumerate(self.inputs):
            for below, _ in inputs:
                self.users[below].append(number)
        self.ops = [_without_session(vertex.op) for vertex in graph]
        self.own: list[bytes] = []
        self.normal: list[str] = []
        for number, vertex in enumerate(graph.vertices):
            own, normal = self._identity(number, vertex)
            self.own.append(own)
            self.normal.append(normal)
        boxes = picture(graph).boxes
        self.stages = [box.stage for box in boxes]
        self.labels = [f"[{box.stage}] {box.title}" if box.stage else box.title for box in boxes]
        self.words = [frozenset(_WORD.findall(box.title)) for box in boxes]

    @cached_property
    def places(self) -> list[tuple[int, int]]:
        """For each vertex, which it is of those with its label, counted from 1, and how many these are."""
        total = Counter(self.labels)
        seen: Counter[str] = Counter()
        out = []
        for label in self.labels:
            seen[label] += 1
            out.append((seen[label], total[label]))
        return out

    def _identity(self, number: int, vertex: Vertex) -> tuple[bytes, str]:
        """Return the bytes of an op alone, and the digest it has without what only tells builds apart."""
        from llbkit.llb.wire.encoding import encode_op

        op, inputs = self.ops[number], self.inputs[number]
        keys = [(edge.vertex.digest, edge.index) for edge in vertex.inputs]
        normal = [(self.normal[below], index) for below, index in inputs]
        if encode_op(vertex.op, keys, vertex.platform, vertex.constraints) != vertex.raw:
            own = vertex.raw  # ops that this version cannot express: their bytes without the digests
            for digest, _ in keys:
                own = own.replace(digest.encode(), b"-" * len(digest))
            raw = own + repr(normal).encode()
        else:
            bare = [("", index) for _, index in inputs]
            own = encode_op(op, bare, vertex.platform, vertex.constraints)
            if op is vertex.op and normal == keys:
                return own, vertex.digest
            raw = encode_op(op, normal, vertex.platform, vertex.constraints)
        return own, "sha256:" + hashlib.sha256(raw).hexdigest()

    def metadata(self, number: int) -> Metadata:
        """Return what is known about a vertex besides its op."""
        return self.graph.metadata_of(self.vertices[number].digest)


def _without_session(op: ops.Op) -> ops.Op:
    if isinstance(op, ops.Source) and any(key in op.attrs for key in _SESSION):
        return replace(op, attrs={key: value for key, value in op.attrs.items() if key not in _SESSION})
    return op


def matched(old: Side, new: Side) -> dict[int, int]:
    """Return for vertices of ``old`` the number of the same vertex of ``new``."""
    pairs: dict[int, int] = {}
    taken: set[int] = set()

    def pair(a: int, b: int) -> None:
        pairs[a] = b
        taken.add(b)

    def by(key: Callable[[Side, int], Hashable], *, alone: bool = False) -> None:
        """Match what is left by a key: in order, or only where it is ``alone`` on both sides."""
        groups: dict[Hashable, list[int]] = defaultdict(list)
        for b in range(len(new.vertices)):
            if b not in taken:
                groups[key(new, b)].append(b)
        ours: dict[Hashable, list[int]] = defaultdict(list)
        for a in range(len(old.vertices)):
            if a not in pairs:
                ours[key(old, a)].append(a)
        for value, items in ours.items():
            others = groups.get(value, [])
            if alone and not len(items) == len(others) == 1:
                continue
            for a, b in zip(items, others, strict=False):
                pair(a, b)

    by(lambda side, number: side.normal[number])
    _upwards(old, new, pairs, pair, taken)
    by(lambda side, number: (side.own[number], side.stages[number]))
    by(lambda side, number: side.own[number], alone=True)
    by(lambda side, number: (type(side.ops[number]), side.labels[number]))
    while _alike(old, new, pairs, pair, taken):
        pass
    return pairs


def _upwards(
    old: Side, new: Side, pairs: Mapping[int, int], pair: Callable[[int, int], None], taken: set[int]
) -> None:
    """Match equal ops on inputs that match."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for b in range(len(new.vertices) - 1, -1, -1):
        if b not in taken and new.inputs[b]:
            groups[new.own[b], tuple(new.inputs[b])].append(b)
    for a in range(len(old.vertices)):
        if a in pairs or not old.inputs[a] or any(below not in pairs for below, _ in old.inputs[a]):
            continue
        found = groups.get((old.own[a], tuple((pairs[below], index) for below, index in old.inputs[a])))
        if found:
            pair(a, found.pop())


def _alike(
    old: Side, new: Side, pairs: dict[int, int], pair: Callable[[int, int], None], taken: set[int]
) -> bool:
    """Match the most similar of what is left; return whether anything was matched."""
    words: dict[str, list[int]] = defaultdict(list)
    for b in range(len(new.vertices)):
        if b not in taken:
            for word in new.words[b]:
                words[word].append(b)
    scores = []
    for a in range(len(old.vertices)):
        if a in pairs:
            continue
        near = {
            user for below, _ in old.inputs[a] if below in pairs for user in new.users[pairs[below]][:_COMMON]
        }
        near |= {
            below for user in old.users[a][:_COMMON] if user in pairs for below, _ in new.inputs[pairs[user]]
        }
        near |= {
            b for word in old.words[a] if len(words.get(word, ())) <= _COMMON for b in words.get(word, ())
        }
        for b in near - taken:
            if type(old.ops[a]) is type(new.ops[b]):
                score = _score(old, new, a, b, pairs)
                if score >= _ALIKE:
                    scores.append((-score, a, b))
    found = False
    for _, a, b in sorted(scores):
        if a not in pairs and b not in taken:
            pair(a, b)
            found = True
    return found


def _score(old: Side, new: Side, a: int, b: int, pairs: Mapping[int, int]) -> float:
    ours, theirs = old.words[a], new.words[b]
    common = 2 * len(ours & theirs) / max(1, len(ours) + len(theirs))
    inputs = {(pairs.get(below), index) for below, index in old.inputs[a]} & set(new.inputs[b])
    users = {pairs.get(user) for user in old.users[a]} & set(new.users[b])
    stage = old.stages[a] == new.stages[b]
    return common + 0.3 * bool(inputs) + 0.4 * bool(users) + 0.2 * stage
