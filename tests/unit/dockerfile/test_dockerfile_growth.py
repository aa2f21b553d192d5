# SPDX-License-Identifier: Apache-2.0
"""Work grows with the length of a file and not with its square: calls are counted for a shape and for twice the shape."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends.dockerfile.frontend import DockerfileFrontend
from llbkit.grammar import DiagnosticError, render_all
from llbkit.llb.wire.encoding import encode

IMAGES = json.loads((Path(__file__).parents[3] / "conformance" / "vectors" / "images.json").read_text())
HEAD = "FROM alpine\n"
Shape = Callable[[int], str]


def each(template: str, *, head: str = HEAD, tail: str = "") -> Shape:
    """Return a file with a line, or more, for every number."""
    return lambda count: head + "".join(template.replace("{}", str(n)) for n in range(count)) + tail


def inside(before: str, part: str, after: str = "\n") -> Shape:
    """Return a file with one instruction that holds a part many times."""
    return lambda count: HEAD + before + "".join(part.replace("{}", str(n)) for n in range(count)) + after


SHAPES: dict[str, Shape] = {
    "continued lines": inside("RUN a", " \\\n b"),
    "comments": each("# a comment\n", tail="RUN a\n"),
    "comments in a line": inside("RUN a \\\n", "# a comment\n", "b\n"),
    "quotes": inside("ENV A=", '""'),
    "open quotes": inside('ENV A="', "''"),
    "dollars": inside("ENV A=", "$"),
    "substitutions": inside("ENV A=", "${A:-x}"),
    "less-than": inside("RUN ", "<"),
    "JSON": inside('RUN ["a"', ', "b{}"', "]\n"),
    "open JSON": inside('RUN ["a"', ', "b{}"'),
    "sources": inside("COPY", " a{}", " b/\n"),
    "flags": inside("RUN", " --mount=type=cache,target=/a{}", " b\n"),
    "options": inside("RUN --mount=target=/a", ",target=/long/name/{}", " b\n"),
    "excluded": inside("COPY", " --exclude=a{}", " a b\n"),
    "heredocs": each("RUN <<E\nx\nE\n"),
    "heredocs of a line": lambda count: (
        f"{HEAD}COPY {' '.join(f'<<E{n}' for n in range(count))} /\n"
        + "".join(f"x\nE{n}\n" for n in range(count))
    ),
    "open heredoc": each("x\n", head=HEAD + "RUN <<E\n"),
    "arguments in words": each("ARG a{}=1\nENV b{}=$a{}\n"),
    "variables": each("ENV a{}=1\n"),
    "variables of a line": inside("ENV", " a{}=1"),
    "undefined variables": inside("ENV A=", "$v{}"),
    "labels": each("LABEL a{}=1\n"),
    "steps": each("RUN a{}\n"),
    "directories": each("WORKDIR a\n"),
    "stages": each("FROM scratch AS s{}\nCOPY a{} /\n"),
    "copies of stages": lambda count: (
        "".join(f"FROM scratch AS s{n}\nCOPY a /\n" for n in range(count))
        + "".join([HEAD, *(f"COPY --from=s{n} /a /b\n" for n in range(count))])
    ),
    "ports": inside("EXPOSE", " {}"),
    "triggers": each("ONBUILD RUN a{}\n"),
    "global arguments": each("ARG a{}=1\n", head="", tail=HEAD),
    "an error at the end": each("RUN a{}\n", tail="COPY a\n"),
    "an error of words at the end": each("RUN a{}\n", tail="COPY ${a /\n"),
    "a misspelt stage at the end": each(
        "FROM scratch AS stage{}\nCOPY a /\n", tail="FROM scratch\nCOPY --from=stag1 a /\nFOO\n"
    ),
    "a long unknown word": inside("F", "O"),
    "a long variable": lambda count: f"{HEAD}ENV {'a' * count}=1\nENV B=${'a' * count}b\n",
    "a directive": lambda count: f"# escape=\\{' ' * count}x\n{HEAD}",
    "stars": lambda count: f"{HEAD}ENV A={'a' * count}\nENV B=${{A##{'*a' * 8}b}} C=${{A//a*a*b/c}}\n",
}


def calls(text: str) -> int:
    """Return how many functions are called while a file is compiled, or refused and the errors printed."""
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    bridge = RecordedBridge({"dockerfile": text}, IMAGES)
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        (one,) = asyncio.run(DockerfileFrontend().convert(bridge))
        encode(one.state.graph(platform=one.target_platform))
        one.image.encode()
    except DiagnosticError as error:
        render_all(error.diagnostics)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("name", SHAPES)
def test_calls_grow_with_the_length(name: str) -> None:
    shape = SHAPES[name]
    calls(shape(3))
    first, second = calls(shape(150)), calls(shape(300))
    assert second < 2.3 * first + 100
