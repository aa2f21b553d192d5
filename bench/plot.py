# SPDX-License-Identifier: Apache-2.0
"""A small plot as SVG: lines over two logarithmic axes, written without a library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 40, 50
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a")

Points = Sequence[tuple[float, float]]


def plot(title: str, x_label: str, y_label: str, lines: Mapping[str, Points]) -> str:
    """Return an SVG document. ``lines`` are the points of each line by its name; all values are above 0."""
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    x_axis = _Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    y_axis = _Axis(min(ys), max(ys), HEIGHT - BOTTOM, TOP)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, TOP - 18, title, "start", size=14),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x_label, "middle"),
        f'<g transform="translate(18 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)">{_text(0, 0, y_label, "middle")}</g>',
    ]
    for value in x_axis.ticks():
        at = x_axis.place(value)
        out.append(_line(at, TOP, at, HEIGHT - BOTTOM, "#d0d7de"))
        out.append(_text(at, HEIGHT - BOTTOM + 16, f"{value:,g}", "middle"))
    for value in y_axis.ticks():
        at = y_axis.place(value)
        out.append(_line(LEFT, at, WIDTH - RIGHT, at, "#d0d7de"))
        out.append(_text(LEFT - 6, at + 4, f"{value:,g}", "end"))
    for number, (name, points) in enumerate(lines.items()):
        out += _curve(name, [(x_axis.place(x), y_axis.place(y)) for x, y in points], number)
    return "\n".join([*out, "</svg>", ""])


class _Axis:
    """A logarithmic axis over whole powers of ten."""

    def __init__(self, low: float, high: float, begin: float, end: float) -> None:
        self._low = math.floor(math.log10(low))
        self._high = max(math.ceil(math.log10(high)), self._low + 1)
        self._begin, self._end = begin, end

    def place(self, value: float) -> float:
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return round(self._begin + share * (self._end - self._begin), 1)

    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self._low, self._high + 1)]


def _curve(name: str, places: Sequence[tuple[float, float]], number: int) -> list[str]:
    colour = COLOURS[number % len(COLOURS)]
    path = " ".join(f"{x},{y}" for x, y in places)
    dots = [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places]
    y = TOP + 10 + 18 * number
    legend = [
        _line(WIDTH - RIGHT + 12, y, WIDTH - RIGHT + 32, y, colour, width=2),
        _text(WIDTH - RIGHT + 38, y + 4, name, "start"),
    ]
    return [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>', *dots, *legend]


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, *, width: int = 1) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" stroke-width="{width}"/>'


def _text(x: float, y: float, text: str, anchor: str, *, size: int = 12) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
