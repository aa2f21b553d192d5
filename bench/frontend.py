# SPDX-License-Identifier: Apache-2.0
"""How long it takes to compile a Dockerfile, by its length, once everything is loaded: CPU time of this process.

    python -m bench.frontend [--runs N] [--svg FILE]

A table of the whole and of its parts, the least of some runs each, and a plot. Nothing is built, no image is asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bench.plot import plot
from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends.dockerfile.check.profiles import BUILDKIT
from llbkit.frontends.dockerfile.frontend import DockerfileFrontend
from llbkit.frontends.dockerfile.program.programs import read_program
from llbkit.frontends.dockerfile.syntax.parse import parse
from llbkit.frontends.kit.lint.linter import Linter
from llbkit.grammar import Source
from llbkit.llb.wire.encoding import encode

SIZES = (30, 100, 1000, 10_000)
T = TypeVar("T")
BLOCK = """\
# {n} says what it is
ARG A{n}=value
ENV B{n}=$A{n} C{n}="two words"
RUN --mount=type=cache,target=/root/.cache apt-get install -y package{n} \\
    && echo "done $A{n}" > /log{n}
COPY --chown=app:app src{n} lib{n} /app/{n}/
WORKDIR /app/{n}
RUN ["make", "part{n}"]
LABEL org.example.part{n}="yes"
COPY --from={before} /etc/os-release /app/{n}/os-release
EXPOSE {port}/tcp
RUN <<EOF
echo {n}
EOF
"""


def dockerfile(count: int) -> str:
    """Return a Dockerfile of so many instructions, of all kinds, in stages of 100 of which each needs the one before."""
    out = ["FROM alpine AS base\n", "FROM base AS s0\n"]
    number, before = 0, "base"
    while len(out) < count:
        if number and number % 10 == 0:
            before = f"s{number // 10 - 1}"
            out.append(f"FROM base AS s{number // 10}\n")
        block = BLOCK.format(n=number, port=1024 + number, before=before)
        out += _instructions(block.splitlines(keepends=True))
        number += 1
    return "".join(out[:count])


def _instructions(lines: list[str]) -> list[str]:
    """Return the ten instructions of a block, the comment with the first."""
    text, out = "", []
    for line in lines:
        text += line
        if line.startswith("#") or line.endswith("\\\n") or (text.startswith("RUN <<") and line != "EOF\n"):
            continue
        out.append(text)
        text = ""
    return out


def timed(runs: int, work: Callable[[], T]) -> tuple[float, T]:
    """Return the least CPU time in milliseconds, and what came of it."""
    best = float("inf")
    for _ in range(runs):
        gc.collect()
        began = time.process_time()
        result = work()
        best = min(best, (time.process_time() - began) * 1000)
    return best, result


def measure(count: int, runs: int, images: object) -> dict[str, float]:
    """Return the milliseconds of each part for a file of so many instructions."""
    text = dockerfile(count)
    runs = max(3, min(runs, runs * 1000 // count))

    def convert() -> object:
        bridge = RecordedBridge({"dockerfile": text}, images)  # type: ignore[arg-type]
        return asyncio.run(DockerfileFrontend().convert(bridge))[0]

    parsing, file = timed(runs, lambda: parse(Source("Dockerfile", text)))
    reading, _ = timed(runs, lambda: read_program(file, Linter(BUILDKIT)))
    converting, one = timed(runs, convert)
    graphing, graph = timed(runs, lambda: one.state.graph(platform="linux/amd64"))  # type: ignore[attr-defined]
    encoding, _ = timed(runs, lambda: encode(graph))
    return {
        "parse": parsing,
        "read": reading,
        "lower": max(converting - parsing - reading, 0.001),
        "graph": graphing,
        "encode": encoding,
        "all": converting + graphing + encoding,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.frontend", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--svg", type=Path)
    given = parser.parse_args()
    vectors = Path(__file__).parents[1] / "conformance" / "vectors"
    images = json.loads((vectors / "images.json").read_text())
    measure(30, 3, images)
    results: dict[int, dict[str, float]] = {}
    print("| instructions | parse | read | lower | graph | encode | all (ms) | each (µs) |")
    print("|---" * 8 + "|")
    for count in SIZES:
        found = results[count] = measure(count, given.runs, images)
        cells = [f"{value:.1f}" for value in found.values()]
        print(f"| {count:,} | " + " | ".join(cells) + f" | {found['all'] * 1000 / count:.0f} |", flush=True)
    if given.svg:
        lines = {
            name: [(count, found[name]) for count, found in results.items()] for name in results[SIZES[0]]
        }
        title = "Compiling a Dockerfile, by its length"
        given.svg.write_text(plot(title, "instructions", "milliseconds of CPU", lines))


if __name__ == "__main__":
    main()
