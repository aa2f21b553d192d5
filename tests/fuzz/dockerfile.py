# SPDX-License-Identifier: Apache-2.0
"""Feed broken Dockerfiles to everything that reads them: whatever the bytes, a result or a typed error comes back.

    python -m tests.fuzz.dockerfile [--seconds N] [--seed N] [--crashes FOLDER] [FILE ...]

Inputs are the recorded Dockerfiles, changed: bytes flipped, pieces put in, doubled, swapped and taken out, files joined. With
files named, these are tried and nothing else. If the package atheris is there, it chooses the changes by what they reach.
An input that fails is kept in the folder, and the run goes on; the exit status says whether there was one.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import random
import sys
import time
from contextlib import suppress
from pathlib import Path

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends.dockerfile.frontend import DockerfileFrontend
from llbkit.frontends.dockerfile.program.words import Mode, WordError, expand
from llbkit.frontends.dockerfile.syntax.parse import parse
from llbkit.frontends.dockerfile.syntax.printing import print_file
from llbkit.frontends.kit.directives import detect_syntax
from llbkit.frontends.kit.inputs.ignore import read_patterns
from llbkit.grammar import DiagnosticError, Source, render_all
from llbkit.grammar.patterns.match import PatternError, PatternMatcher
from llbkit.llb import LLBError
from llbkit.llb.wire.encoding import encode
from tests.fuzz.driver import Crashes, options, trace_of

VECTORS = Path(__file__).parents[2] / "conformance" / "vectors"
IMAGES = json.loads((VECTORS / "images.json").read_text())
REQUESTS = ("lint", "outline", "targets", "convertllb")
LONGEST = 1 << 16
SLOW = 20
"""Seconds after which an input counts as one that hangs."""

PIECES = [
    b"\n", b"\r\n", b"\\\n", b"`\n", b" ", b"\t", b"\v", b"\xc2\x85", b"\xe3\x80\x80", b"\xef\xbb\xbf", b"\xff", b"\xed\xa0\x80", b"\x00", b"'", b'"',
    b"$", b"${", b"}", b"${A:-", b"${A//", b"${A##*", b"${A:?", b"$$", b"#", b"# escape=`\n", b"# check=skip=all;error=true\n", b"# syntax=", b"<<E", b"<<-'E'", b"\nE\n",
    b"--", b"=", b",", b"[", b"]", b'["', b"**/", b"*", b"!", b"..", b"://[", b"http://x/", b"git@x:y", b"@sha256:", b":", b"99999999999999999999", b"-1",
    b"FROM ", b"FROM scratch AS ", b"RUN ", b"RUN --mount=type=", b"--mount=from=", b"--network=", b"--security=", b"--device=", b"COPY --from=", b"COPY --chmod=", b"COPY --link ",
    b"COPY --parents --exclude=", b"ADD --checksum=", b"ADD --unpack=", b"ENV A=$A$A\n", b"ENV ", b"LABEL ", b"ARG ", b"ARG SOURCE_DATE_EPOCH=", b"EXPOSE ", b"HEALTHCHECK --interval=", b"CMD ", b"NONE",
    b"ONBUILD ", b"SHELL ", b"STOPSIGNAL ", b"USER ", b"VOLUME ", b"WORKDIR ", b"MAINTAINER ", b"ENTRYPOINT ", b"cache,", b"secret,", b"ssh,", b"tmpfs,size=", b"target=/", b"id=", b"uid=",
    b"ARG SOURCE_DATE_EPOCH=context\n", b"ARG SOURCE_DATE_EPOCH=s\nFROM scratch AS s\nADD http://x/ /\n", b"ADD x.git?ref=a&mtime=", b"RUN <<-E\n\t#!",
    b"--device=a/b=c,required=", b"WORKDIR d:",
    b"linux/amd64", b"windows", b"--platform=$", b"TARGETPLATFORM", b"alpine", b"scratch",
]  # fmt: skip


LONG_LINES = [b"x" * 65535, b"x" * 65536, b"x\\\n" * 20000, b"\n# " + b"c" * 65533]


def seeds() -> list[bytes]:
    """Return the texts of the recorded cases."""
    found: dict[bytes, None] = {}
    for name, key in (("dockerfile", "dockerfile"), ("ast", "text"), ("dockerignore", "dockerignore")):
        for case in json.loads((VECTORS / f"{name}.open.json").read_text()):
            if isinstance(case.get(key), str):
                found[case[key].encode("utf-8", "surrogateescape")] = None
    return list(found)


def change(data: bytes, others: list[bytes], source: random.Random) -> bytes:
    """Return data with some changes."""
    for _ in range(source.choice((1, 1, 2, 3, 8))):
        at = source.randrange(len(data) + 1)
        end = min(len(data), at + source.choice((1, 2, 5, 20, 100)))
        match source.randrange(9):
            case 0:
                data = data[:at] + bytes([source.randrange(256)]) + data[at + 1 :]
            case 1 | 2 | 3:
                data = data[:at] + source.choice(PIECES) + data[at:]
            case 4:
                data = data[:at] + source.choice(PIECES) + data[end:]
            case 5:
                data = data[:at] + data[end:]
            case 6:
                data = data[:at] + data[at:end] * source.choice((2, 3, 50, 1000)) + data[end:]
            case 7:
                lines = data.split(b"\n")
                source.shuffle(lines)
                data = b"\n".join(lines)
            case 8:
                other = source.choice(others)
                data = data[:at] + other[source.randrange(len(other) + 1) :]
    data = data[:LONGEST]
    if not source.randrange(50):
        at = source.randrange(len(data) + 1)
        data = data[:at] + source.choice(LONG_LINES) + data[at:]
    return data


def try_one(data: bytes) -> None:
    """Read data in every way; only typed errors are expected, and nothing else is caught."""
    source = Source.from_bytes("Dockerfile", data, "Dockerfile")
    detect_syntax(source)
    with suppress(DiagnosticError):
        file = parse(source)
        printed = print_file(file)
        again = parse(Source("Dockerfile", printed))
        assert again.dump() == file.dump(), "what is printed says something else"
    text = source.text
    attrs = {"build-arg:A": "a*b", "build-arg:B": "", "label:a": "b"}
    _build({"dockerfile": text, "frontend_attrs": attrs, "options": {"dockerignore": "x\n!y\n**/z"}})
    _build(
        {
            "dockerfile": text,
            "frontend_attrs": {"build-arg:SOURCE_DATE_EPOCH": "s", "platform": "windows/amd64"},
        }
    )
    for request in REQUESTS:
        _ask({"dockerfile": text, "frontend_attrs": {"requestid": f"frontend.{request}"}})
    ignore = data.decode("utf-8", "replace")
    _build({"dockerfile": "FROM alpine\nCOPY a b/c /\n", "options": {"dockerignore": ignore}})
    with suppress(PatternError):
        PatternMatcher(read_patterns(text)).matches_or_parent("a/b/c.go")
    for mode in (Mode(), Mode(escape="`", raw_quotes=True, raw_escapes=True, skip_unset_env=True)):
        with suppress(WordError):
            expand(text, {"A": "a*b", "B": ""}, mode)


def _build(case: dict[str, object]) -> None:
    bridge = RecordedBridge(case, IMAGES)
    try:
        for one in asyncio.run(DockerfileFrontend(labs=True).convert(bridge)):
            encode(one.state.graph(platform=one.target_platform, caps=bridge.caps))
            json.loads(one.image.encode())
    except DiagnosticError as error:
        render_all(error.diagnostics).encode("utf-8", "replace")
        for span in (span for diagnostic in error.diagnostics for span in diagnostic.spans):
            assert 0 <= span.start <= span.end <= len(span.source.text)
    except LLBError as error:
        assert str(error)
    assert render_all(bridge.warnings) or not bridge.warnings


def _ask(case: dict[str, object]) -> None:
    with suppress(DiagnosticError, LLBError):
        answer = asyncio.run(DockerfileFrontend().build(RecordedBridge(case, IMAGES))).metadata
        json.loads(answer["result.json"])


def fails(data: bytes) -> str:
    """Try data and return the traceback; "" if all is well."""
    return trace_of(lambda: try_one(data), SLOW)


def loop(seconds: float, source: random.Random, crashes: Crashes) -> int:
    """Try changed seeds for a while; return how many failed."""
    pool, failed, tried = seeds(), 0, 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = change(source.choice(pool), pool, source)
        tried += 1
        trace = fails(data)
        if trace:
            failed += 1
            crashes.keep(data, trace)
    print(f"{tried} inputs, {failed} failures")
    return failed


def main() -> int:
    parser = options("dockerfile", __doc__)
    parser.add_argument("files", nargs="*", type=Path)
    given = parser.parse_args()
    if given.files:
        traces = [trace for file in given.files if (trace := fails(file.read_bytes()))]
        print("\n".join(traces) or "all is well")
        return bool(traces)
    if importlib.util.find_spec("atheris") is not None:
        return with_atheris(given.seconds)
    seed = given.seed if given.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    return bool(loop(given.seconds, random.Random(seed), Crashes(given.crashes)))


def with_atheris(seconds: float) -> int:
    atheris = importlib.import_module("atheris")
    pool = seeds()

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        return change(data, pool, random.Random(seed))[:most]

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-max_total_time={int(seconds)}"], try_one, custom_mutator=mutate)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
