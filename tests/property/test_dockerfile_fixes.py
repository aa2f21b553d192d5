# SPDX-License-Identifier: Apache-2.0
"""Safe fixes leave what is built as it is, whatever the file; every exact range is in the instruction it is about."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends.dockerfile.frontend import DockerfileFrontend
from llbkit.grammar import Diagnostic, DiagnosticError, Source, apply_edits, fitting
from llbkit.llb import StateError
from tests.support.dockerfiles import dockerfiles

VECTORS = Path(__file__).parents[2] / "conformance" / "vectors"
IMAGES = json.loads((VECTORS / "images.json").read_text())
LINES = st.sampled_from([
    "FROM alpine AS Base", "from alpine As x", "FROM --platform=$TARGETPLATFORM  alpine as b", "FROM --platform=${TARGETPLATFORM} \\\n b",
    "FROM alpine@x as Y", "ENV A b", "env A  b $A", "LABEL a \"b c\"", "LABEL a b \\\n\n c", "Env A=$A B c=d", "ENV é x y", "ENV A b\\ c", "ENV A b=c d",
    "EXPOSE 80/TCP 1.2.3.4:5:6/Udp", "expose 8080:80 8080:80/TCP", "EXPOSE $A 1:2", "EXPOSE [::1]:1:2/UDP", "RUN a && \\\n\n \t\n b", "run a",
    "CMD a", "CMD [\"a\"]", "HEALTHCHECK NONE", "MAINTAINER é <x>", "Run <<E\na\n\nE", "COPY --from=base a $B/", "WORKDIR a", "WORKDIR $X/b",
    "ONBUILD EXPOSE 1:2/TCP", "ADD x \\\n\n\n y", "ARG Key=$NO", "COPY <<-E /\n\t$Q\n\tE", "RUN --mount=type=cache,target=/a/$T x",
])  # fmt: skip


@st.composite
def files(draw: st.DrawFn) -> bytes:
    text = "FROM alpine\n" + "\n".join(draw(st.lists(LINES, max_size=8))) + draw(st.sampled_from(["", "\n"]))
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return text.encode() + draw(st.sampled_from([b"", b"\n# \xff\n"]))


def compiled(text: str) -> tuple[Any, list[Diagnostic]]:
    """Return the vertices and the image of a file, or the texts of its errors, and what was found in it."""
    bridge = RecordedBridge({"dockerfile": text}, IMAGES)
    built: Any
    try:
        (one,) = asyncio.run(DockerfileFrontend().convert(bridge))
        graph = one.state.graph(platform=one.target_platform)
        image = json.loads(one.image.encode())
        # The history tells how it is written: the words of EXPOSE in their order, those of ENV and LABEL in theirs.
        image["history"] = len(image.get("history", ()))
        built = {vertex.digest for vertex in graph}, image
    except (DiagnosticError, StateError) as error:
        built = [type(error)]
    return built, bridge.warnings


@settings(max_examples=300, deadline=None)
@given(st.one_of(files().map(lambda data: Source.from_bytes("", data).text), dockerfiles(valid_start=True)))
def test_safe_fixes_leave_what_is_built_as_it_is(text: str) -> None:
    built, found = compiled(text)
    for one in found:
        if one.focus is not None and one.span is not None:
            inside = one.span.start <= one.focus.start <= one.focus.end <= max(one.span.end, one.focus.start)
            assert inside or one.code == "NoEmptyContinuation", "which BuildKit reports at the last line"
    for _ in range(5):  # a fix may bring up what another rule mends
        fixes = fitting(fix for one in found for fix in one.fixes if fix.safe)
        if not fixes:
            return
        source = fixes[0].edits[0].span.source
        text = apply_edits(source, [edit for fix in fixes for edit in fix.edits])
        again, found = compiled(text)
        assert again == built
    raise AssertionError("fixes without an end")
