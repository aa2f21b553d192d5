# SPDX-License-Identifier: Apache-2.0
"""Compare two graphs: steps added, removed or changed (in which field), and steps where only the inputs changed.

Vertices are matched in this order, each step looking at what the ones before left over: the same digest; the same op on
inputs that match; the same op in the same stage; the same name; and at last the most similar, by their words, their stage and
their neighbours. So a changed base image is one change, and everything above it is *affected*, not new.

What only tells builds apart is no difference: the session and the unique id of local directories, and the numbers of steps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import zip_longest
from typing import Any, Literal

from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Graph, Metadata, Vertex
from llbkit.llb.tools.fieldwords import FieldChange, field_changes
from llbkit.llb.tools.matching import Side, matched
from llbkit.llb.tools.names import seen
from llbkit.records import dataclass

Kind = Literal["changed", "affected", "added", "removed"]
_MARKS: Mapping[Kind, str] = {"changed": "~", "affected": "=", "added": "+", "removed": "-"}
_CAUSES = 3  # of one vertex that are named
_LONGEST = 100  # letters of a label that are shown
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


def compare(before: Graph, after: Graph) -> Comparison:
    """Return what changed from one graph to another. Cost: near linear in their sizes."""
    old, new = Side(before), Side(after)
    match = matched(old, new)
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
    old: Side,
    new: Side,
    before: int,
    after: int,
    match: Mapping[int, int],
    causes: Mapping[int, tuple[str, ...]],
) -> Change | None:
    """Return what changed between two vertices that match; None if nothing did."""
    one, other = old.vertices[before], new.vertices[after]
    fields = _own_changes(old, new, before, after, match)
    fields += _metadata_changes(old.metadata(before), new.metadata(after), named=bool(fields))
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
    old: Side, new: Side, before: int, after: int, match: Mapping[int, int]
) -> list[FieldChange]:
    """Return the inputs, by number, that are other vertices."""
    found = []
    for place, (was, now) in enumerate(zip_longest(old.inputs[before], new.inputs[after])):
        if was is None or now is None or (match.get(was[0]), was[1]) != now:
            found.append(FieldChange(f"input {place}", *_disambiguated(old, was, new, now)))
    return found


def _own_changes(
    old: Side, new: Side, before: int, after: int, match: Mapping[int, int]
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


def _metadata_changes(one: Metadata, other: Metadata, *, named: bool) -> list[FieldChange]:
    """Return the changes in metadata; ``named``: the op changed as well, so a new name is expected."""
    pairs: list[tuple[str, object, object]] = [
        ("ignore-cache", one.ignore_cache, other.ignore_cache),
        ("export-cache", one.export_cache, other.export_cache),
        ("limits", one.linux_resources, other.linux_resources),
        ("name", "" if named else _plain_name(one), "" if named else _plain_name(other)),
    ]
    return [FieldChange(name, _rendered(a), _rendered(b)) for name, a, b in pairs if a != b]


def _cut(label: str) -> str:
    return seen(label if len(label) <= _LONGEST else label[: _LONGEST - 1] + "…")


def _rendered(value: object) -> str | None:
    from llbkit.llb.text.fields import field_words

    match value:
        case None | "" | False:
            return None
        case True:
            return "yes"
        case str():
            return value
        case _:
            return " ".join(field_words(value)) or "none"


def _plain_name(metadata: Metadata) -> str:
    name = metadata.description.get("llb.customname", "")
    return _COUNTER.sub(lambda match: f"[{match[1]}] " if match[1] else "", name)


def _edge(side: Side, edge: tuple[int, int]) -> str:
    number, index = edge
    return f"{side.labels[number]} (output {index})" if index else side.labels[number]


def _disambiguated(
    old: Side, was: tuple[int, int] | None, new: Side, now: tuple[int, int] | None
) -> tuple[str | None, str | None]:
    """Return words for two edges that differ: their labels, and more where those are the same."""
    one = None if was is None else _edge(old, was)
    other = None if now is None else _edge(new, now)
    if one != other or was is None or now is None:
        return one, other
    if old.places[was[0]] == new.places[now[0]]:
        words = [side.vertices[number].digest[:19] for side, number in ((old, was[0]), (new, now[0]))]
    else:
        words = ["{} of {}".format(*side.places[number]) for side, number in ((old, was[0]), (new, now[0]))]
    return f"{one} ({words[0]})", f"{other} ({words[1]})"


def _heads(old: Side, new: Side, match: Mapping[int, int]) -> tuple[FieldChange, ...]:
    def place(side: Side) -> tuple[int, int] | None:
        head = side.graph.head
        return None if head is None else (side.numbers[head.vertex.digest], head.index)

    one, other = place(old), place(new)
    if (None if one is None else (match.get(one[0], -1), one[1])) == other:
        return ()
    was, now = _disambiguated(old, one, new, other)
    return (FieldChange("head", was or "scratch", now or "scratch"),)


__all__ = ["Change", "Comparison", "compare"]
