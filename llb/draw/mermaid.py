# SPDX-License-Identifier: Apache-2.0
"""Graphs for Mermaid, which Markdown viewers draw."""

from __future__ import annotations

from collections.abc import Iterable

from llbkit.llb.draw.picture import Box, Outcome, picture, seconds
from llbkit.llb.ir.graph import Graph
from llbkit.llb.tools.names import seen

_SHAPES = {"source": ("([", "])"), "exec": ("[", "]"), "file": ("[/", "/]"), "merge": ("{{", "}}")}
_STYLES = {
    "ran": "fill:#dbeafe,stroke:#2563eb,color:#1e293b",
    "cached": "fill:#dcfce7,stroke:#16a34a,color:#1e293b",
    "failed": "fill:#fecaca,stroke:#dc2626,color:#1e293b",
    "canceled": "fill:#fde68a,stroke:#d97706,color:#1e293b",
    "pruned": "fill:#f3f4f6,stroke:#9ca3af,color:#6b7280,stroke-dasharray:4",
}
_SHOWN = 80
_ESCAPES = str.maketrans({char: f"#{ord(char)};" for char in '"#<>&[](){}|`\\;'})


def render(graph: Graph, outcomes: Iterable[Outcome] | None = None) -> str:
    """Return a graph as a Mermaid flow chart, each stage a subgraph; ``outcomes`` colour the vertices."""
    drawn = picture(graph, outcomes)
    lines = ["flowchart TB"]
    staged = set()
    for place, (stage, numbers) in enumerate(drawn.stages().items()):
        lines.append(f"  subgraph s{place}[{_quoted(stage)}]")
        lines += [f"    {_node(number, drawn.boxes[number])}" for number in numbers]
        lines.append("  end")
        staged.update(numbers)
    lines += [f"  {_node(number, box)}" for number, box in enumerate(drawn.boxes) if number not in staged]
    for arrow in drawn.arrows:
        label = f"|{arrow.output}|" if arrow.output else ""
        lines.append(f"  n{arrow.source} -->{label} n{arrow.target}")
    if drawn.head is not None:
        lines += ["  head((( )))", f"  n{drawn.head} --> head"]
    for result in sorted({box.result for box in drawn.boxes if box.result}):
        lines.append(f"  classDef {result} {_STYLES[result]}")
    return "\n".join(lines) + "\n"


def _node(number: int, box: Box) -> str:
    left, right = _SHAPES.get(box.kind, ("{", "}"))
    title = box.title if len(box.title) <= _SHOWN else box.title[: _SHOWN - 1] + "…"
    time = f"<br/>{seconds(box.seconds)}" if box.result in ("ran", "failed") else ""
    mark = f":::{box.result}" if box.result else ""
    return f'n{number}{left}"{_escaped(title)}{time}"{right}{mark}'


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    return seen(text).translate(_ESCAPES)
