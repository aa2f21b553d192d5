# SPDX-License-Identifier: Apache-2.0
"""Two graphs compared: which step changed in which field, which only has other inputs, what came and what went.

Vertices are matched in this order, each step looking at what the ones before left over: the same digest; the same op on
inputs that match; the same op in the same stage; the same name; and at last the most similar, by their words, their stage and
their neighbours. So a changed base image is one change, and everything above it is *affected*, not new.

What only tells builds apart is no difference: the session and the unique id of local directories, and the numbers of steps.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, Literal

from llb import ops
from llb.draw.picture import picture
from llb.fieldwords import FieldChange, field_changes
from llb.graph import Graph, Metadata, Vertex

Kind = Literal["changed", "affected", "added", "removed"]
_MARKS: Mapping[Kind, str] = {"changed": "~", "affected": "=", "added": "+", "removed": "-"}
_SESSION = ("local.session", "local.unique")
_ALIKE = 0.8
_CAUSES = 3  # of one vertex that are named
_LONGEST = 100  # letters of a label that are shown
_COMMON = 24  # a word of more vertices than this says nothing of which one is meant
_WORD = re.compile(r"[\w.+-]+")
_COUNTER = re.compile(r"^\[(.*?) *\d+/\d+\] ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One vertex that is not the same in both graphs.

    ``fields`` are what is different of itself. An ``affected`` one is the same but for ``inputs``, the numbers of those
    inputs that changed; ``causes`` are the vertices (label, and what changed of it) where that began.
    """

    kind: Kind
    label: str
    before: str = ""
    after: str = ""
    fields: tuple[FieldChange, ...] = ()
    inputs: tuple[int, ...] = ()
    causes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return the change for a terminal."""
        out = [f"{_MARKS[self.kind]} {_cut(self.label)}"]
        out += [f"    {one}" for one in self.fields]
        if self.kind == "affected":
            which = ", ".join(map(str, self.inputs))
            plural = "inputs" if len(self.inputs) > 1 else "input"
            out.append(f"    unchanged itself, but its {plural} {which} changed ({'; '.join(self.causes)})")
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What changed between two graphs, in the order of the second; false if nothing did."""

    changes: tuple[Change, ...]
    head: tuple[FieldChange, ...]
    same: int

    def __bool__(self) -> bool:
        return bool(self.changes or self.head)

    def counts(self) -> dict[str, int]:
        """Return how many vertices changed in each way."""
        out: dict[str, int] = {kind: sum(one.kind == kind for one in self.changes) for kind in _MARKS}
        return {**out, "same": self.same}

    def text(self) -> str:
        """Return the comparison as lines for a terminal."""
        lines = [line for change in self.changes for line in change.lines()]
        if self.head:
            lines += ["~ the result", *(f"    {one}" for one in self.head)]
        counts = [f"{count} {kind}" for kind, count in self.counts().items() if count or kind == "same"]
        return "\n".join([*lines, ", ".join(counts)]) + "\n"

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as plain values."""
        return {
            "equal": not self,
            "counts": self.counts(),
            "changes": [
                {
                    "kind": one.kind,
                    "name": one.label,
                    "before": one.before or None,
                    "after": one.after or None,
                    "fields": [field.as_json() for field in one.fields],
                    "inputs": list(one.inputs),
                    "causes": list(one.causes),
                }
                for one in self.changes
            ],
            "head": [field.as_json() for field in self.head],
        }


class _Side:
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

    def _identity(self, number: int, vertex: Vertex) -> tuple[bytes, str]:
        """Return the bytes of an op alone, and the digest it has without what only tells builds apart."""
        from llb.wire.encoding import encode_op

        op, inputs = self.ops[number], self.inputs[number]
        keys = [(edge.vertex.digest, edge.index) for edge in vertex.inputs]
        normal = [(self.normal[below], index) for below, index in inputs]
        if encode_op(vertex.op, keys, vertex.platform, vertex.constraints) != vertex.raw:
            own = vertex.raw  # what this version cannot say: the bytes as they are, but for the digests
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
        return self.graph.metadata_of(self.vertices[number].digest)


def compare(before: Graph, after: Graph) -> Comparison:
    """Return what changed from one graph to another. Cost: near linear in their sizes."""
    old, new = _Side(before), _Side(after)
    match = _matched(old, new)
    back = {b: a for a, b in match.items()}
    changes: list[Change] = []
    same = 0
    causes: dict[int, tuple[str, ...]] = {}
    for number, vertex in enumerate(new.vertices):
        label = new.labels[number]
        if number not in back:
            causes[number] = (f"{_cut(label)} is new",)
            changes.append(Change(kind="added", label=label, after=vertex.digest))
            continue
        change = _change(old, new, back[number], number, match, causes)
        if change is None:
            same += 1
            continue
        causes[number] = change.causes or (f"{_cut(label)}: {change.fields[0]}",)
        changes.append(change)
    for number, vertex in enumerate(old.vertices):
        if number not in match:
            changes.append(Change(kind="removed", label=old.labels[number], before=vertex.digest))
    return Comparison(changes=tuple(changes), head=_heads(old, new, match), same=same)


def _change(
    old: _Side,
    new: _Side,
    before: int,
    after: int,
    match: Mapping[int, int],
    causes: Mapping[int, tuple[str, ...]],
) -> Change | None:
    """Return what changed between two vertices that match; None if nothing did."""
    one, other = old.vertices[before], new.vertices[after]
    fields = _own_changes(old, new, before, after, match)
    fields += _beside(old.metadata(before), new.metadata(after), named=bool(fields))
    moved = []
    if old.normal[before] != new.normal[after]:
        if old.own[before] == new.own[after] or not fields:
            fields += _other_inputs(old, new, before, after, match)
        moved = [place for place, (below, _) in enumerate(new.inputs[after]) if below in causes]
    if not fields and not moved:
        return None
    found = dict.fromkeys(cause for place in moved for cause in causes[new.inputs[after][place][0]])
    return Change(
        kind="changed" if fields else "affected",
        label=new.labels[after],
        before=one.digest,
        after=other.digest,
        fields=tuple(fields),
        inputs=tuple(moved),
        causes=() if fields else tuple(found)[:_CAUSES],
    )


def _other_inputs(
    old: _Side, new: _Side, before: int, after: int, match: Mapping[int, int]
) -> list[FieldChange]:
    """Return the inputs, by number, that are other vertices."""
    found = []
    for place, (was, now) in enumerate(zip_longest(old.inputs[before], new.inputs[after])):
        if was is None or now is None or (match.get(was[0]), was[1]) != now:
            found.append(
                FieldChange(
                    f"input {place}",
                    None if was is None else _edge(old, was),
                    None if now is None else _edge(new, now),
                )
            )
    return found


def _own_changes(
    old: _Side, new: _Side, before: int, after: int, match: Mapping[int, int]
) -> list[FieldChange]:
    """Return the fields that changed of the op itself; of its inputs, what is read where."""
    if old.own[before] == new.own[after]:
        return []

    def was(place: int) -> str:
        number, index = old.inputs[before][place]
        return _edge(new, (match[number], index)) if number in match else _edge(old, (number, index))

    one, other = old.vertices[before], new.vertices[after]
    found = field_changes(
        _looking(one, old.ops[before]),
        _looking(other, new.ops[after]),
        (was, lambda place: _edge(new, new.inputs[after][place])),
    )
    same_inputs = [(match.get(number), index) for number, index in old.inputs[before]] == new.inputs[after]
    if not found and same_inputs:
        found = [FieldChange("wire bytes", f"{len(one.raw)} bytes", f"{len(other.raw)} bytes")]
    return found


def _looking(vertex: Vertex, op: ops.Op) -> Vertex:
    """Return a vertex with another op: for looking at its fields only, its bytes are the old ones."""
    return vertex if op is vertex.op else replace(vertex, op=op)


def _beside(one: Metadata, other: Metadata, *, named: bool) -> list[FieldChange]:
    """Return what changed beside the op; ``named``: a new name is what one expects."""
    pairs: list[tuple[str, object, object]] = [
        ("ignore-cache", one.ignore_cache, other.ignore_cache),
        ("export-cache", one.export_cache, other.export_cache),
        ("limits", one.linux_resources, other.linux_resources),
        ("name", "" if named else _plain_name(one), "" if named else _plain_name(other)),
    ]
    return [FieldChange(name, _said(a), _said(b)) for name, a, b in pairs if a != b]


def _cut(label: str) -> str:
    return label if len(label) <= _LONGEST else label[: _LONGEST - 1] + "…"


def _said(value: object) -> str | None:
    from llb.text.fields import told

    match value:
        case None | "" | False:
            return None
        case True:
            return "yes"
        case str():
            return value
        case _:
            return " ".join(told(value)) or "none"


def _plain_name(metadata: Metadata) -> str:
    name = metadata.description.get("llb.customname", "")
    return _COUNTER.sub(lambda match: f"[{match[1]}] " if match[1] else "", name)


def _edge(side: _Side, edge: tuple[int, int]) -> str:
    number, index = edge
    return f"{side.labels[number]} (output {index})" if index else side.labels[number]


def _heads(old: _Side, new: _Side, match: Mapping[int, int]) -> tuple[FieldChange, ...]:
    def place(side: _Side) -> tuple[int, int] | None:
        head = side.graph.head
        return None if head is None else (side.numbers[head.vertex.digest], head.index)

    one, other = place(old), place(new)
    if (None if one is None else (match.get(one[0], -1), one[1])) == other:
        return ()
    return (
        FieldChange(
            "head",
            "scratch" if one is None else _edge(old, one),
            "scratch" if other is None else _edge(new, other),
        ),
    )


def _without_session(op: ops.Op) -> ops.Op:
    if isinstance(op, ops.Source) and any(key in op.attrs for key in _SESSION):
        return replace(op, attrs={key: value for key, value in op.attrs.items() if key not in _SESSION})
    return op


# -- matching


def _matched(old: _Side, new: _Side) -> dict[int, int]:
    """Return for vertices of ``old`` the number of the same vertex of ``new``."""
    pairs: dict[int, int] = {}
    taken: set[int] = set()

    def pair(a: int, b: int) -> None:
        pairs[a] = b
        taken.add(b)

    def by(key: Callable[[_Side, int], Hashable], *, alone: bool = False) -> None:
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
    old: _Side, new: _Side, pairs: Mapping[int, int], pair: Callable[[int, int], None], taken: set[int]
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
    old: _Side, new: _Side, pairs: dict[int, int], pair: Callable[[int, int], None], taken: set[int]
) -> bool:
    """Match the most similar of what is left; tell whether anything was matched."""
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


def _score(old: _Side, new: _Side, a: int, b: int, pairs: Mapping[int, int]) -> float:
    ours, theirs = old.words[a], new.words[b]
    common = 2 * len(ours & theirs) / max(1, len(ours) + len(theirs))
    inputs = {(pairs.get(below), index) for below, index in old.inputs[a]} & set(new.inputs[b])
    users = {pairs.get(user) for user in old.users[a]} & set(new.users[b])
    stage = old.stages[a] == new.stages[b]
    return common + 0.3 * bool(inputs) + 0.4 * bool(users) + 0.2 * stage


__all__ = ["Change", "Comparison", "compare"]
