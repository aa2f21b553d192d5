# SPDX-License-Identifier: Apache-2.0
"""How the cost of the IR grows with the graph: µs of CPU time a vertex, for every stage, shape and size.

    python -m bench.scale [--sizes 1000,10000,100000] [--runs N] [--svg FILE]

Time is this process's CPU time, the least of some runs, so that other work on the machine counts little. The picture is
written as plain SVG; nothing but llbkit is needed.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from llbkit.llb import State, image, merge, scratch
from llbkit.llb.ir.verify import verify
from llbkit.llb.wire import decode, encode
from llbkit.solver.passes import optimize

STAGES = ("build", "digest", "encode", "decode", "verify", "optimize")
COLOURS = ("#b7b7b7", "#4c78a8", "#72b7b2", "#f58518", "#eeca3b", "#54a24b")
BASE = "docker.io/library/debian:12"
PLATFORM = "linux/amd64"

Costs = Mapping[str, float]
"""µs a vertex by stage."""


def chain(count: int) -> State:
    """One step on the other."""
    state = image(BASE)
    for number in range(count - 1):
        state = state.run(("/bin/sh", "-c", f"step {number}")).root
    return state


def merge_tree(count: int) -> State:
    """Files in scratch, merged by two and two."""
    level = [scratch().mkfile(f"/f{number}", "x") for number in range(count // 2)]
    while len(level) > 1:
        level = [merge(level[at : at + 2]) for at in range(0, len(level), 2)]
    return level[0]


def stages(count: int) -> State:
    """Stages of a hundred steps, every second one a file op, and one that copies from all of them."""
    out = scratch()
    for stage in range(max(1, count // 100)):
        state = image(BASE)
        for number in range(98):
            if number % 2:
                state = state.run(("/bin/sh", "-c", f"step {stage} {number}")).root
            else:
                state = state.mkfile(f"/{stage}-{number}", "x")
        out = out.copy(state, "/out", f"/out{stage}")
    return out


SHAPES: Mapping[str, Callable[[int], State]] = {"chain": chain, "merge tree": merge_tree, "stages": stages}


def measure(shape: Callable[[int], State], size: int) -> tuple[int, Costs]:
    """Return the number of vertices, and what each stage costs."""
    costs: dict[str, float] = {}
    gc.collect()
    began = time.process_time()

    def lap(stage: str) -> None:
        nonlocal began
        now = time.process_time()
        costs[stage] = now - began
        began = time.process_time()

    state = shape(size)
    lap("build")
    graph = state.graph(platform=PLATFORM)
    lap("digest")
    definition = encode(graph)
    lap("encode")
    decoded = decode(definition)
    lap("decode")
    verify(decoded)
    lap("verify")
    optimize(decoded)
    lap("optimize")
    return len(graph), {stage: seconds / len(graph) * 1e6 for stage, seconds in costs.items()}


def best(shape: Callable[[int], State], size: int, runs: int) -> tuple[int, Costs]:
    """Return the least of some runs, stage by stage."""
    count, costs = measure(shape, size)
    for _ in range(runs - 1):
        _, again = measure(shape, size)
        costs = {stage: min(costs[stage], again[stage]) for stage in STAGES}
    return count, costs


def row(name: str, count: int, costs: Costs) -> str:
    cells = [f"{costs[stage]:.1f}" for stage in STAGES]
    to_wire = costs["digest"] + costs["encode"]
    pipeline = sum(costs[stage] for stage in ("encode", "decode", "verify", "optimize"))
    return f"| {name} | {count:,} | " + " | ".join([*cells, f"{to_wire:.1f}", f"{pipeline:.1f}"]) + " |"


def picture(results: Sequence[tuple[str, int, Costs]]) -> str:
    """Return an SVG of stacked bars, one for each shape and size."""
    width, height, left, bottom = 760, 380, 50, 60
    most = max(sum(costs.values()) for _, _, costs in results)
    top = 20 * (int(most / 20) + 1)
    scale = (height - bottom - 50) / top
    step = (width - left - 20) / len(results)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="18">CPU time a vertex in µs, by stage, for graphs of three shapes and sizes</text>',
    ]
    for value in range(0, top + 1, 20):
        y = height - bottom - value * scale
        out.append(f'<line x1="{left}" x2="{width - 20}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>')
        out.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value}</text>')
    for place, (name, count, costs) in enumerate(results):
        x, y = left + step * (place + 0.2), float(height - bottom)
        for stage, colour in zip(STAGES, COLOURS, strict=True):
            tall = costs[stage] * scale
            y -= tall
            tip = f"<title>{escape(f'{name}, {count:,}: {stage} {costs[stage]:.1f} µs')}</title>"
            out.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{step * 0.6:.1f}" height="{tall:.1f}" fill="{colour}">{tip}</rect>'
            )
        middle = x + step * 0.3
        out.append(
            f'<text x="{middle:.1f}" y="{height - bottom + 16}" text-anchor="middle">{escape(name)}</text>'
        )
        out.append(f'<text x="{middle:.1f}" y="{height - bottom + 31}" text-anchor="middle">{count:,}</text>')
    for place, (stage, colour) in enumerate(zip(STAGES, COLOURS, strict=True)):
        x = left + place * 100
        out.append(f'<rect x="{x}" y="{height - 20}" width="12" height="12" fill="{colour}"/>')
        out.append(f'<text x="{x + 17}" y="{height - 10}">{stage}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--svg", type=Path)
    arguments = parser.parse_args()
    results = []
    print("| shape | vertices | " + " | ".join(STAGES) + " | digest + encode | encode to optimize |")
    print("|---" * (len(STAGES) + 4) + "|", flush=True)
    for name, shape in SHAPES.items():
        for size in map(int, arguments.sizes.split(",")):
            count, costs = best(shape, size, arguments.runs)
            results.append((name, count, costs))
            print(row(name, count, costs), flush=True)
    if arguments.svg:
        arguments.svg.write_text(picture(results), "utf-8")


if __name__ == "__main__":
    main()
