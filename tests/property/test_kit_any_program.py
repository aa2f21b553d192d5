# SPDX-License-Identifier: Apache-2.0
"""Any program of a language on the kit is built or refused with a diagnostic, whatever its words are."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st
from languages.toy import Toy

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.grammar import DiagnosticError
from llbkit.llb.wire.encoding import encode

IMAGES = json.loads((Path(__file__).parents[2] / "conformance" / "vectors" / "images.json").read_text())
WORD = st.sampled_from(
    ["a", "b", "alpine:3.20", "scratch", "/", ".", "..", "../x", "a/../b", "C:\\x", "é", "\udcff", "\x00", "日本", "$A", "--", "a b",
     "Alpine", "a@sha256:0", "\ufeff", "context", "x" * 300]
)  # fmt: skip
LINE = st.one_of(
    st.builds("target {} from {}".format, WORD, WORD),
    st.builds(
        "target {} from {}".format, st.sampled_from("abc"), st.sampled_from(["a", "b", "c", "scratch"])
    ),
    st.builds("  copy {} to {}".format, WORD, WORD),
    st.builds("  copy {} to {} from {}".format, WORD, WORD, WORD),
    st.builds("  run {}".format, WORD),
    st.builds("  arg {} = {}".format, WORD, WORD),
    st.text(st.characters(), max_size=10),
)
OPTIONS = st.dictionaries(
    st.sampled_from(["target", "platform", "requestid", "context:a", "build-arg:A", "no-cache", "build-arg:SOURCE_DATE_EPOCH"]),
    st.sampled_from(["", "a", "b", "linux/arm64", "linux/amd64,linux/arm64", "frontend.lint", "frontend.outline", "docker-image://busybox",
                     "frontend.convertllb", "input:x", "local:a", "0", "-1", "context"]),
    max_size=3,
)  # fmt: skip


@given(st.lists(LINE, max_size=8).map("\n".join), OPTIONS)
@example("target a from scratch\n  run \udcff", {})
@example("target a from scratch\n  copy \udcff to /\udcff", {})
@example("target a from scratch\n  arg A = \udcff", {})
@example("target a from scratch\n  copy x to a\x00b", {})
def test_any_program_is_built_or_refused(program: str, options: dict[str, str]) -> None:
    case = {"dockerfile": program, "frontend_attrs": {"filename": "build.toy", **options}}
    bridge = RecordedBridge(case, IMAGES)
    try:
        result = asyncio.run(Toy().build(bridge))
    except DiagnosticError as error:
        rendered = error.diagnostics[0].render()
    else:
        rendered = "built"
        for one in result.results:
            encode(one.ref.definition())  # type: ignore[union-attr]
    assert rendered
