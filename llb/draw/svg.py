# SPDX-License-Identifier: Apache-2.0
"""Graphs as SVG: one file, no scripts, readable on light and dark pages; hovering over a box shows its details."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from xml.sax.saxutils import escape

from llbkit.llb.draw.layout import Layout, Route, layout
from llbkit.llb.draw.picture import Box, Outcome, Picture, picture, seconds
from llbkit.llb.ir.graph import Graph
from llbkit.llb.tools.names import seen

_W, _H = 236, 46  # a box
_LETTER = 7.23  # width of a letter of the monospaced face at 12px
_PER_LINE = int((_W - 26) / _LETTER)
_SIDE, _TOP, _BOTTOM = 12, 26, 12  # between a frame and its boxes
_TRACK = 9
_MARGIN = 20
_RADIUS = 6
_LEGEND = 34

_STYLE = """\
svg{--bg:#fff;--ink:#1f2937;--dim:#6b7280;--box:#fff;--line:#94a3b8;--frame:#f8fafc;--edge:#cbd5e1;\
--source:#0d9488;--exec:#2563eb;--file:#b45309;--other:#7c3aed;--ran:#2563eb;--cached:#16a34a;--failed:#dc2626;\
--canceled:#d97706;--pruned:#9ca3af;background:var(--bg)}
@media(prefers-color-scheme:dark){svg{--bg:#0d1117;--ink:#e6edf3;--dim:#9198a1;--box:#161b22;--line:#6e7681;\
--frame:#11161d;--edge:#30363d;--source:#2dd4bf;--exec:#60a5fa;--file:#fbbf24;--other:#c4b5fd;--ran:#60a5fa;\
--cached:#4ade80;--failed:#f87171;--canceled:#fbbf24;--pruned:#6e7681}}
text{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:var(--ink)}
.k{font-weight:700}.t{font-size:11px;fill:var(--dim)}.s{font:600 12px system-ui,"Segoe UI",Roboto,Helvetica,Arial,sans-serif;\
fill:var(--dim)}
.f{fill:var(--frame);stroke:var(--edge)}.b{fill:var(--box);stroke:var(--edge)}
.a{fill:none;stroke:var(--line);stroke-width:1.4}.h{fill:var(--line)}
.source{fill:var(--source)}.exec{fill:var(--exec)}.file{fill:var(--file)}.other{fill:var(--other)}
.ran{fill:var(--ran)}.cached{fill:var(--cached)}.failed{fill:var(--failed)}.canceled{fill:var(--canceled)}
.pruned{fill:var(--pruned)}
g.is-failed .b{stroke:var(--failed);stroke-width:2}g.is-head .b{stroke:var(--ink);stroke-width:1.6}
g.is-failed.is-head .b{stroke:var(--failed);stroke-width:2}
g.is-pruned .b{stroke-dasharray:4 3}g.is-pruned text,g.is-pruned .bar{opacity:.7}
g.n:hover .b{stroke:var(--ink)}"""


def render(graph: Graph, outcomes: Iterable[Outcome] | None = None) -> str:
    """Return a graph as an SVG document; ``outcomes`` colour the vertices."""
    drawn = picture(graph, outcomes)
    return _Canvas(drawn, layout(drawn)).document()


class _Canvas:
    def __init__(self, drawn: Picture, placed: Layout) -> None:
        self._drawn = drawn
        self._placed = placed
        frames = [lane for lane in placed.lanes if drawn.boxes[lane[0]].stage]
        self._frames = frames
        columns = max(placed.columns, default=-1) + 1
        depth = max(placed.rows, default=-1) + 1
        tops = {placed.rows[lane[0]] for lane in frames}
        ends = {placed.rows[lane[-1]] for lane in frames}
        self._x: list[float] = []
        self._gutter_x: list[float] = []
        x: float = _MARGIN
        for column in range(columns + 1):
            tracks = placed.gutter_tracks[column] if column < len(placed.gutter_tracks) else 0
            side = _SIDE if column > 0 else 0
            self._gutter_x.append(x + side + 10)
            x += side + (tracks * _TRACK + 10 if tracks else 0) + (_SIDE if column < columns else 0)
            x += 10 if 0 < column < columns and not tracks else 0
            if column < columns:
                self._x.append(x)
                x += _W
        self.width = x + _MARGIN
        self._y: list[float] = []
        self._leave_y: list[float] = []
        self._enter_y: list[float] = [0.0]
        y: float = _MARGIN
        for row in range(depth):
            y += _TOP if row in tops else 0
            self._y.append(y)
            y += _H
            leave, enter = placed.gap_tracks[row]
            y += _BOTTOM if row in ends else 0
            self._leave_y.append(y + 9)
            y += leave * _TRACK
            self._enter_y.append(y + 9)
            y += enter * _TRACK + (20 if row < depth - 1 else 0)
        self.height = y + _MARGIN
        self._ports = self._entries()

    def document(self) -> str:
        legend = list(self._legend()) if self._drawn.has_outcomes else []
        width = max(self.width, 420 if legend else 120)
        height = self.height + (_LEGEND if legend else 0)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
            f' viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="build graph">'
        )
        marker = (
            '<defs><marker id="m" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path class="h" d="M0 0.6 8 4 0 7.4z"/></marker></defs>'
        )
        parts = [
            head,
            f"<style>{_STYLE}</style>",
            marker,
            '<rect width="100%" height="100%" fill="var(--bg)"/>',
        ]
        parts += self._stages()
        parts += [self._arrow(route, x) for route, x in zip(self._placed.routes, self._ports, strict=True)]
        parts += [self._box(number, box) for number, box in enumerate(self._drawn.boxes)]
        return "\n".join([*parts, *legend, "</svg>"]) + "\n"

    def _stages(self) -> Iterator[str]:
        for lane in self._frames:
            column, first, last = self._placed.columns[lane[0]], lane[0], lane[-1]
            x, top = self._x[column] - _SIDE, self._y[self._placed.rows[first]] - _TOP
            height = self._y[self._placed.rows[last]] + _H + _BOTTOM - top
            yield f'<rect class="f" x="{x:g}" y="{top:g}" width="{_W + 2 * _SIDE}" height="{height:g}" rx="10"/>'
            title = _cut(self._drawn.boxes[first].stage, _PER_LINE)
            yield f'<text class="s" x="{x + 12:g}" y="{top + 17:g}">{_xml(title)}</text>'

    def _entries(self) -> list[float]:
        """Return where each route enters its target: in the middle if it comes straight, else side by side."""
        arriving: dict[int, list[int]] = {}
        for number, route in enumerate(self._placed.routes):
            arriving.setdefault(route.target, []).append(number)
        ports = [0.0] * len(self._placed.routes)
        for target, numbers in arriving.items():
            middle = self._x[self._placed.columns[target]] + _W / 2
            step = min(22.0, (_W / 2 - 20) / max(1, len(numbers)))
            left = [n for n in numbers if not self._placed.routes[n].straight and self._origin(n) < middle]
            right = [n for n in numbers if not self._placed.routes[n].straight and self._origin(n) >= middle]
            alone = len(left) + len(right) == len(numbers)
            for side, sign in (
                (sorted(left, key=self._origin, reverse=True), -1),
                (sorted(right, key=self._origin), 1),
            ):
                for place, number in enumerate(side):
                    ports[number] = middle + sign * step * (place + (0 if alone and len(numbers) == 1 else 1))
            for number in numbers:
                if self._placed.routes[number].straight:
                    ports[number] = middle
        return ports

    def _origin(self, number: int) -> float:
        route = self._placed.routes[number]
        if route.gutter >= 0:
            return self._gutter_x[route.gutter] + route.track * _TRACK
        return self._x[self._placed.columns[route.source]] + _W / 2

    def _arrow(self, route: Route, x: float) -> str:
        rows, columns = self._placed.rows, self._placed.columns
        start = self._x[columns[route.source]] + _W / 2
        y, end = self._y[rows[route.source]] + _H, self._y[rows[route.target]]
        points = [(start, y)]
        if not route.straight:
            leave = self._leave_y[rows[route.source]] + route.leave * _TRACK
            points.append((start, leave))
            if route.gutter >= 0:
                beside = self._gutter_x[route.gutter] + route.track * _TRACK
                enter = self._enter_y[rows[route.target]] + route.enter * _TRACK
                points += [(beside, leave), (beside, enter), (x, enter)]
            else:
                points.append((x, leave))
        points.append((x, end - 1))
        return f'<path class="a" marker-end="url(#m)" d="{_path(points)}"/>'

    def _box(self, number: int, box: Box) -> str:
        x, y = self._x[self._placed.columns[number]], self._y[self._placed.rows[number]]
        kind = box.kind if box.kind in ("source", "exec", "file") else "other"
        marks = ["n"] + (["is-head"] if number == self._drawn.head else [])
        marks += [f"is-{box.result}"] if box.result in ("failed", "pruned") else []
        label = _outcome_label(box)
        first, second = _two_lines(box.title, _PER_LINE, _PER_LINE - (len(label) + 1 if label else 0))
        word, space, rest = first.partition(" ")
        keyword = word.isupper() and word.isalpha()
        line = f'<tspan class="k {kind}">{_xml(word)}</tspan>{_xml(space + rest)}' if keyword else _xml(first)
        parts = [
            f'<g class="{" ".join(marks)}"><title>{_xml(chr(10).join(box.details))}</title>',
            f'<rect class="b" x="{x:g}" y="{y:g}" width="{_W}" height="{_H}" rx="6"/>',
            f'<rect class="bar {box.result or kind}" x="{x:g}" y="{y + 6:g}" width="4" height="{_H - 12}" rx="2"/>',
            f'<text x="{x + 14:g}" y="{y + (19 if second or label else 27):g}">{line}</text>',
        ]
        if second:
            parts.append(f'<text x="{x + 14:g}" y="{y + 36:g}">{_xml(second)}</text>')
        if label:
            right = f'x="{x + _W - 10:g}" y="{y + 36:g}" text-anchor="end"'
            parts.append(f'<text class="t {box.result}" {right}>{label}</text>')
        return "".join([*parts, "</g>"])

    def _legend(self) -> Iterator[str]:
        x, y = float(_MARGIN), self.height + 4
        for result in ("ran", "cached", "failed", "canceled", "pruned"):
            count = sum(box.result == result for box in self._drawn.boxes)
            if count:
                yield f'<rect class="{result}" x="{x:g}" y="{y:g}" width="10" height="10" rx="2"/>'
                label = f"{count} {result}"
                yield f'<text class="s" x="{x + 16:g}" y="{y + 10:g}">{label}</text>'
                x += 16 + len(label) * 7.5 + 18


def _outcome_label(box: Box) -> str:
    if box.result in ("ran", "failed"):
        return f"{'failed ' if box.result == 'failed' else ''}{seconds(box.seconds)}"
    return box.result


def _two_lines(text: str, first: int, second: int) -> tuple[str, str]:
    """Return a text in at most two lines, broken between words where one is near."""
    if len(text) <= first:
        return text, ""
    place = text.rfind(" ", first // 2, first + 1)
    place = first if place < 0 else place
    return text[:place], _cut(text[place:].strip(), second)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: max(1, most - 1)].rstrip() + "…"


def _path(points: Sequence[tuple[float, float]]) -> str:
    """Return a path along points, its corners rounded."""
    x, y = points[0]
    out = [f"M{x:g} {y:g}"]
    corners = [point for number, point in enumerate(points) if number == 0 or point != points[number - 1]]
    for (ax, ay), (bx, by), (cx, cy) in zip(corners, corners[1:], corners[2:], strict=False):
        before, after = abs(bx - ax) + abs(by - ay), abs(cx - bx) + abs(cy - by)
        radius = min(_RADIUS, before / 2, after / 2)
        px, py = bx - _sign(bx - ax) * radius, by - _sign(by - ay) * radius
        qx, qy = bx + _sign(cx - bx) * radius, by + _sign(cy - by) * radius
        out.append(f"L{px:g} {py:g}Q{bx:g} {by:g} {qx:g} {qy:g}")
    x, y = corners[-1]
    return "".join([*out, f"L{x:g} {y:g}"])


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _xml(text: str) -> str:
    return escape(seen(text), {'"': "&quot;"})
