# SPDX-License-Identifier: Apache-2.0
"""Whatever the instructions: lowering gives a result or diagnostics that point into the file, never another failure."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends.dockerfile.frontend import DockerfileFrontend
from llbkit.grammar import DiagnosticError, render_all
from llbkit.llb import StateError
from llbkit.llb.wire.encoding import encode
from tests.support.dockerfiles import dockerfiles

VECTORS = Path(__file__).parents[2] / "conformance" / "vectors"
IMAGES = json.loads((VECTORS / "images.json").read_text())
HEADS = [
    "FROM alpine", "FROM busybox AS b", "FROM b", "FROM nowhere", "FROM --platform=", "ARG A=", "ENV A=", "RUN --mount=",
    "RUN --mount=type=", "RUN --network=", "RUN --device=", "COPY --from=", "COPY --chmod=", "COPY --link a ", "ADD ",
    "ADD --checksum=", "EXPOSE ", "STOPSIGNAL ", "WORKDIR ", "USER ", "VOLUME ", "SHELL ", "CMD ", "LABEL ", "ONBUILD ",
    "HEALTHCHECK --interval=", "HEALTHCHECK --retries=", "FOO ", "# check=", "COPY <<E /", "ONBUILD RUN --mount=", "MAINTAINER ",
]  # fmt: skip
TAILS = [
    "", "x", " y", "$A", "${A:?no}", "${", '"', "'", "\\", ",", "=", "cache", "bind", "secret", "target=/x", "from=b", "id=a",
    "sharing=locked", "size=1m", "mode=7", " x y /z", "1", "99999", "1:2/TCP", "[1]", '["a"]', "a/b/c/d", "http://x.invalid/a",
    "é", "\udcff", "\\\n ", "\t", "skip=all;error=true", "u+x", "-1", "5s", "sha256:",
]  # fmt: skip
lines = st.tuples(st.sampled_from(HEADS), st.lists(st.sampled_from(TAILS), max_size=4).map("".join)).map(
    "".join
)
files = st.lists(lines, min_size=1, max_size=8).map("\n".join)


def refusal(case: dict[str, object], *, labs: bool) -> DiagnosticError | None:
    try:
        (one,) = asyncio.run(DockerfileFrontend(labs=labs).convert(RecordedBridge(case, IMAGES)))
    except DiagnosticError as error:
        return error
    assert isinstance(json.loads(one.image.encode()), dict)
    with suppress(StateError):  # RUN [] makes no sense as a step
        encode(one.state.graph(platform=one.target_platform))
    return None


@settings(max_examples=200, deadline=None)
@given(st.one_of(files, dockerfiles(valid_start=True)), st.booleans())
def test_a_file_is_lowered_or_refused_with_places_in_it(text: str, labs: bool) -> None:
    error = refusal({"dockerfile": text, "options": {"dockerignore": "x\n"}}, labs=labs)
    if error is None:
        return
    assert render_all(error.diagnostics)
    for span in (span for one in error.diagnostics for span in one.spans):
        assert 0 <= span.start <= span.end <= len(span.source.text)
        assert span.source.name == "ONBUILD" or span.source.text == text


@settings(deadline=None)
@given(st.one_of(files, dockerfiles(valid_start=True)))
def test_every_subrequest_answers_or_refuses(text: str) -> None:
    for request in ("lint", "outline", "targets", "convertllb"):
        attrs = {"requestid": f"frontend.{request}", "cmdline": "a frontend that was asked for"}
        bridge = RecordedBridge({"dockerfile": text, "frontend_attrs": attrs}, IMAGES)
        try:
            answer = asyncio.run(DockerfileFrontend().build(bridge)).metadata
        except (DiagnosticError, StateError):  # RUN [] makes no sense as a step
            answer = {}
        assert answer or request != "lint"
        if not answer:
            continue
        assert isinstance(json.loads(answer["result.json"]), dict)
