# SPDX-License-Identifier: Apache-2.0
"""Statistics of a graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Graph
from llbkit.llb.tools.names import name_of, seen
from llbkit.records import dataclass

_SHOWN = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Counts of one graph. Sizes are in bytes.

    ``depth`` is the number of vertices on the longest path, ``path`` their names; ``width`` the most vertices that nothing
    keeps from running at the same time (those of one level, levels counted from the sources); ``shared`` are the vertices
    that more than one other uses, ``unused`` those that the result does not need.
    """

    vertices: int
    edges: int
    kinds: Mapping[str, int]
    actions: Mapping[str, int]
    mounts: Mapping[str, int]
    depth: int
    path: Sequence[str]
    width: int
    shared: int
    most_used: tuple[str, int]
    unused: int
    sources: Sequence[str]
    platforms: Mapping[str, int]
    definition_size: int
    largest_op: tuple[str, int]
    content_size: int
    text_size: int

    def as_json(self) -> dict[str, Any]:
        """Return the counts as plain values."""
        return asdict(self)

    def text(self) -> str:
        """Return the counts as lines for a terminal."""
        rows = [
            ("vertices", f"{self.vertices}  ({_counts(self.kinds)})"),
            ("edges", str(self.edges)),
            ("file actions", _counts(self.actions)),
            ("mounts", _counts(self.mounts)),
            ("depth", f"{self.depth} vertices on the longest path"),
            ("width", f"{self.width} at the same time"),
            ("shared", f"{self.shared} used more than once"),
            ("most used", f"{self.most_used[1]} times: {self.most_used[0]}" if self.most_used[1] > 1 else ""),
            ("unused", str(self.unused) if self.unused else ""),
            ("platforms", _counts(self.platforms)),
            ("definition", f"{self.definition_size} bytes"),
            ("largest op", f"{self.largest_op[1]} bytes: {self.largest_op[0]}" if self.vertices else ""),
            ("file contents", f"{self.content_size} bytes" if self.content_size else ""),
            ("source texts", f"{self.text_size} bytes" if self.text_size else ""),
        ]
        lines = [f"{name:<14} {value}"[: _SHOWN + 20] for name, value in rows if value]
        for title, items in (("sources", [seen(one) for one in self.sources]), ("longest path", self.path)):
            if items:
                lines += [title, *(f"  {item}" for item in items)]
        return "\n".join(lines) + "\n"


def measure(graph: Graph) -> Stats:
    """Count a graph. Linear in its size."""
    from llbkit.llb.ir.platform import format as platform_text
    from llbkit.llb.wire import encode

    numbers = {vertex.digest: number for number, vertex in enumerate(graph.vertices)}
    names: list[str] = []
    levels: list[int] = []
    before: list[int] = []
    users: Counter[int] = Counter()
    for vertex in graph:
        below = [numbers[edge.vertex.digest] for edge in vertex.inputs]
        users.update(set(below))
        longest = max(below, key=levels.__getitem__, default=-1)
        before.append(longest)
        levels.append(levels[longest] + 1 if longest >= 0 else 1)
        named = [names[number] for number in below]
        names.append(_short(name_of(vertex, graph.metadata_of(vertex.digest), named)))
    actions = [a.action for v in graph if isinstance(v.op, ops.File) for a in v.op.actions]
    used, times = users.most_common(1)[0] if users else (-1, 0)
    largest = max(graph.vertices, key=lambda vertex: len(vertex.raw), default=None)
    return Stats(
        vertices=len(graph),
        edges=sum(len(vertex.inputs) for vertex in graph),
        kinds=_counted(type(vertex.op).__name__.lower() for vertex in graph),
        actions=_counted(type(action).__name__.lower() for action in actions),
        mounts=_counted(
            mount.mount_type.name.lower()
            for vertex in graph
            if isinstance(vertex.op, ops.Exec)
            for mount in vertex.op.mounts
            if mount.dest != "/"
        ),
        depth=max(levels, default=0),
        path=_path(levels, before, names),
        width=max(Counter(levels).values(), default=0),
        shared=sum(count > 1 for count in users.values()),
        most_used=(names[used] if times > 1 else "", times),
        unused=len(graph) - len(_needed(graph, numbers)),
        sources=sorted(vertex.op.identifier for vertex in graph if isinstance(vertex.op, ops.Source)),
        platforms=_counted(platform_text(vertex.platform) for vertex in graph if vertex.platform is not None),
        definition_size=len(encode(graph)),
        largest_op=(names[numbers[largest.digest]], len(largest.raw)) if largest is not None else ("", 0),
        content_size=sum(len(action.data) for action in actions if isinstance(action, ops.MkFile)),
        text_size=sum(len(info.source.data) for info in graph.source_map.infos),
    )


def _path(levels: Sequence[int], before: Sequence[int], names: Sequence[str]) -> list[str]:
    number = max(range(len(levels)), key=levels.__getitem__, default=-1)
    path = []
    while number >= 0:
        path.append(names[number])
        number = before[number]
    return path[::-1]


def _needed(graph: Graph, numbers: Mapping[str, int]) -> set[int]:
    from llbkit.llb.ir.walk import postorder

    if graph.head is None:
        return set()
    inputs = [[numbers[edge.vertex.digest] for edge in vertex.inputs] for vertex in graph]
    return set(postorder([numbers[graph.head.vertex.digest]], inputs.__getitem__))


def _counted(items: Any) -> dict[str, int]:
    return dict(Counter(items).most_common())


def _counts(items: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in items.items())


def _short(name: str) -> str:
    line = seen(" ".join(name[: 4 * _SHOWN].split()))
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"
