# SPDX-License-Identifier: Apache-2.0
"""All errors of a file are reported in one run: BuildKit's first, the others behind it in the file's order."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends.dockerfile.frontend import DockerfileFrontend
from llbkit.grammar import Diagnostic, DiagnosticError, Source, render_all

VECTORS = Path(__file__).parents[3] / "conformance" / "vectors"
IMAGES = json.loads((VECTORS / "images.json").read_text())


def failing(text: str) -> tuple[tuple[Diagnostic, ...], RecordedBridge]:
    bridge = RecordedBridge({"dockerfile": text}, IMAGES)
    with pytest.raises(DiagnosticError) as caught:
        asyncio.run(DockerfileFrontend().convert(bridge))
    return caught.value.diagnostics, bridge


def pointed(text: str) -> list[str]:
    found, _ = failing(text)
    return [one.span.text if one.span else "" for one in found]


def test_five_mistakes_are_five_diagnostics() -> None:
    text = (
        "FROM alpine:3.20 AS build\n"
        "RNU make\n"
        "COPY --form=build a /\n"
        "RUN --mount=type=cahce,target=/x make\n"
        "RUN --netwrok=host make\n"
        "FROM biuld\n"
    )
    found, _ = failing(text)
    assert [one.span.text for one in found if one.span] == ["RNU", "--form", "cahce", "--netwrok", "biuld"]
    assert all("did you mean" in one.message for one in found)
    assert (
        found[0].message == "dockerfile parse error on line 2: unknown instruction: RNU (did you mean ENV?)"
    )
    assert found[0].help == "write RUN, or ENV"


def test_the_parser_goes_on_behind_what_it_cannot_cut() -> None:
    text = "FROM alpine:3.20\nRNU x\nCMD [1]\nENV A=b \\\n  c\nFOO y\nRUN <<EOF\nnever ends\n"
    assert pointed(text) == ["CMD [1]", "RNU", "ENV A=b \\", "FOO", "RUN <<EOF"]
    found, _ = failing(text)
    assert all(one.span and one.span.source.text == text for one in found)


def test_instructions_of_a_stage_are_all_lowered() -> None:
    text = "FROM alpine:3.20\nSTOPSIGNAL SIGHUPP\nEXPOSE web 99999\nCOPY --chmod=999 a /\nRUN --mount=type=sect x\n"
    assert pointed(text) == ["SIGHUPP", "99999", "999", "sect"]


def test_stages_fail_each_on_their_own() -> None:
    assert pointed(
        "FROM --platform=a/b/c/d alpine AS x\nFROM $A AS y\nFROM alpine\nRUN --mount=type=sect x\n"
    ) == [
        "a/b/c/d",
        "$A",
        "sect",
    ]
    assert pointed("FROM alpne\nFROM debain\nFROM scratch\nCOPY --from=0 a /\nCOPY --from=1 a /\n") == [
        "alpne",
        "debain",
    ]


def test_what_may_follow_from_a_wrong_variable_is_left_out() -> None:
    text = "FROM alpine:3.20\nENV A=${B:?unset}\nWORKDIR ${A:?unset}\n"
    assert len(failing(text)[0]) == 1


def test_a_file_that_lacks_its_first_from_is_told_so_once() -> None:
    found, _ = failing("RUN a\nRUN b\nCOPPY c d\n")
    assert [one.code for one in found] == ["no-stage", "unknown-instruction"]


def test_nothing_is_warned_of_or_asked_for_after_the_first_error() -> None:
    _, bridge = failing("FROM alpine:3.20 AS Before\nFOO\nFROM alpine:3.20 AS After\nCMD x\n")
    assert [warning.message for warning in bridge.warnings] == ["Stage name 'Before' should be lowercase"]
    assert bridge.calls == []
    _, bridge = failing("FROM alpine:3.20\nCMD x\nSTOPSIGNAL no\nCMD y\nWORKDIR z\n")
    assert [warning.code for warning in bridge.warnings] == ["JSONArgsRecommended"]


def test_no_error_is_told_twice() -> None:
    assert pointed("FROM --platform=a/b/c/d alpine\nRUN --mount=type=sect x\nFOO\n") == ["FOO", "sect"]


def test_the_answer_to_a_check_holds_the_first_and_tells_of_all() -> None:
    text = "# check=skip=WorkdirRelative\nFROM alpine:3.20\nFOO\nCOPY --form=x a /\n"
    bridge = RecordedBridge({"dockerfile": text, "frontend_attrs": {"requestid": "frontend.lint"}}, IMAGES)
    answer = asyncio.run(DockerfileFrontend().build(bridge)).metadata
    assert json.loads(answer["result.json"])["buildError"]["location"]["ranges"][0]["start"] == {"line": 3}
    told = answer["result.errors"].decode()
    assert "unknown flag: --form" in told
    assert "unknown check WorkdirRelative" in told


def test_one_screen_shows_the_first_errors_and_counts_the_rest() -> None:
    source = Source("f", "\n".join(f"line {n}" for n in range(30)))
    many = [
        Diagnostic(code="c", message=f"m{n}", spans=(source.lines(n, n),), help="h") for n in range(1, 21)
    ]
    shown = render_all(many)
    assert "m8" in shown
    assert "m9" not in shown
    assert shown.endswith("... and 12 more (lines 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20)")
    assert len(shown.splitlines()) <= 60
    assert render_all(many[:1]) == many[0].render()
