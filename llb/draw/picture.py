# SPDX-License-Identifier: Apache-2.0
"""The content of every picture: labelled boxes, their stages, arrows, and each vertex's outcome in a build."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Literal

from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Graph, Vertex
from llbkit.llb.tools.names import name_of
from llbkit.records import dataclass

Result = Literal["", "ran", "cached", "failed", "canceled", "pruned"]
_STEP = re.compile(r"\[(?:(?P<stage>.+?) +)? *\d+/\d+\] (?P<rest>.*)", re.DOTALL)
_FLAG = re.compile(r"--[a-z-]+(?:=(?:\"[^\"]*\"|\S+))?\s+")
_BLANK = re.compile(r"\s+")
_LONGEST = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a vertex in a build: how it ended and how long it was worked on; ``name`` finds it again."""

    digest: str
    name: str
    result: Result
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A vertex: a short ``title``, all that is known about it, its stage ("": none) and its outcome."""

    kind: str
    title: str
    details: tuple[str, ...]
    digest: str
    stage: str = ""
    result: Result = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Arrow:
    """From an input to its user, by number; ``output`` is which result of the input is used."""

    source: int
    target: int
    output: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Boxes (inputs before users), arrows, and which box is the result."""

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    head: int | None
    has_outcomes: bool = False

    def stages(self) -> Mapping[str, list[int]]:
        """Return the boxes of each stage that has a name, in their order."""
        found: dict[str, list[int]] = {}
        for number, box in enumerate(self.boxes):
            if box.stage:
                found.setdefault(box.stage, []).append(number)
        return found


@dataclass(slots=True)
class _Outcomes:
    by_digest: dict[str, Outcome] = field(default_factory=dict)
    by_name: dict[str, Outcome] = field(default_factory=dict)

    def of(self, vertex: Vertex, name: str) -> Outcome | None:
        return self.by_digest.get(vertex.digest) or self.by_name.get(name)


def picture(graph: Graph, outcomes: Iterable[Outcome] | None = None) -> Picture:
    """Return what to draw of a graph; ``outcomes`` are of a build of it, or of the same program another time.

    A vertex is found among them by its digest, or else by its name: local directories have other digests in each build.
    """
    numbers = {vertex.digest: number for number, vertex in enumerate(graph.vertices)}
    known = _Outcomes()
    for one in outcomes or ():
        known.by_digest[one.digest] = one
        known.by_name.setdefault(one.name, one)
    names: list[str] = []
    boxes = []
    for vertex in graph.vertices:
        inputs = [names[numbers[edge.vertex.digest]] for edge in vertex.inputs]
        metadata = graph.metadata_of(vertex.digest)
        name = name_of(vertex, metadata, inputs)
        given = "llb.customname" in metadata.description
        names.append(name)
        found = known.of(vertex, name)
        result: Result = "" if outcomes is None else "pruned" if found is None else found.result
        match = _STEP.fullmatch(name)
        boxes.append(
            Box(
                kind=type(vertex.op).__name__.lower(),
                title=_title(match["rest"] if match else name if given else _default(vertex, name), vertex),
                details=(name[:_LONGEST], *_lines(graph, vertex.digest), vertex.digest),
                digest=vertex.digest,
                stage=(match["stage"] or "") if match else "",
                result=result,
                seconds=found.seconds if found else 0.0,
            )
        )
    arrows = [
        Arrow(numbers[edge.vertex.digest], number, edge.index)
        for number, vertex in enumerate(graph.vertices)
        for edge in dict.fromkeys(vertex.inputs)
    ]
    head = numbers[graph.head.vertex.digest] if graph.head is not None else None
    return Picture(boxes=tuple(boxes), arrows=tuple(arrows), head=head, has_outcomes=outcomes is not None)


def seconds(value: float) -> str:
    """Return a duration in a few letters."""
    if value >= 100:
        return f"{int(value) // 60}m{int(value) % 60:02}s"
    return f"{value:.1f}s" if value >= 1 else f"{value * 1000:.0f}ms"


def _default(vertex: Vertex, name: str) -> str:
    """Return a short name for a vertex that was given none; arrows show what it reads."""
    match vertex.op:
        case ops.Exec(meta=ops.Meta(args=("/bin/sh", "-c", command))):
            return command
        case ops.Merge():
            return f"merge of {len(vertex.op.inputs)}"
        case ops.Diff():
            return "diff"
        case _:
            return name


def _title(name: str, vertex: Vertex) -> str:
    """Return a name in one line, without what only details tell."""
    text = _BLANK.sub(" ", name[:_LONGEST]).strip().removeprefix("[internal] ")
    if isinstance(vertex.op, ops.Source):
        text = re.sub(r"@sha256:[0-9a-f]{64}", "", text).replace("docker-image://", "")
        return text.replace("docker.io/library/", "")
    word, _, rest = text.partition(" ")
    while word.isupper() and (flag := _FLAG.match(rest)):
        kept = flag.group().startswith(("--from", "--link"))
        if kept:
            break
        rest = rest[flag.end() :]
    return f"{word} {rest}".strip()


def _lines(graph: Graph, digest: str) -> list[str]:
    """Return the source lines of a vertex, each with its place."""
    found = []
    for span in graph.spans_of(digest)[:1]:
        first, last = span.start_line, min(span.end_line, span.start_line + 11)
        found += [f"{span.source.name}:{line}  {span.source.line(line)}" for line in range(first, last + 1)]
    return found
