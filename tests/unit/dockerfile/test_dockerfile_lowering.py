# SPDX-License-Identifier: Apache-2.0
"""Lowering beside the vectors: where errors point, what they advise, and that questions are asked once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends.dockerfile.frontend import DockerfileFrontend
from llbkit.frontends.dockerfile.lower.convert import Converted
from llbkit.frontends.dockerfile.lower.steps.paths import normalize
from llbkit.frontends.kit.errors.suggest import suggest
from llbkit.frontends.kit.golang.csv import CSVError, texts
from llbkit.frontends.kit.golang.text import format_duration
from llbkit.grammar import Diagnostic, DiagnosticError

VECTORS = Path(__file__).parents[3] / "conformance" / "vectors"
IMAGES = json.loads((VECTORS / "images.json").read_text())


def bridge_of(text: str, **attrs: str) -> RecordedBridge:
    return RecordedBridge({"dockerfile": text, "frontend_attrs": attrs}, IMAGES)


def lower(text: str, **attrs: str) -> Converted:
    return asyncio.run(DockerfileFrontend().convert(bridge_of(text, **attrs)))[0]


def fault(text: str, **attrs: str) -> Diagnostic:
    with pytest.raises(DiagnosticError) as caught:
        lower(text, **attrs)
    return caught.value.diagnostics[0]


@pytest.mark.parametrize(
    ("text", "code", "pointed", "advice"),
    [
        ("FROM alpine:3.20\nCOPPY a /\n", "unknown-instruction", "COPPY", "COPY"),
        ("FROM alpine:3.20\nCOPY --form=a b /\n", "unknown-flag", "--form", "--from"),
        ("FROM alpine:3.20\nRUN --mount=type=cahce x\n", "mount", "cahce", "cache"),
        ("FROM alpine:3.20\nSTOPSIGNAL SIGHUPP\n", "signal", "SIGHUPP", "SIGHUP"),
        ("FROM alpine:3.20\nEXPOSE web\n", "port", "web", "EXPOSE 80"),
    ],
)
def test_an_error_points_at_its_place_and_says_what_to_do(
    text: str, code: str, pointed: str, advice: str
) -> None:
    found = fault(text)
    assert found.code == code
    assert found.span is not None
    assert found.span.text == pointed
    assert advice in found.help


def test_a_misspelt_stage_suggests_the_right_one() -> None:
    found = fault("FROM alpine:3.20 AS build\nFROM scratch\nCOPY --from=biuld /a /a\n")
    assert "did you mean build?" in found.message


def test_an_image_is_asked_for_once_however_many_stages_use_it() -> None:
    bridge = bridge_of(
        "FROM busybox AS a\nFROM busybox AS b\nFROM scratch\nCOPY --from=a / /\nCOPY --from=b / /\n"
    )
    asyncio.run(DockerfileFrontend().convert(bridge))
    assert [call["ref"] for call in bridge.calls] == ["docker.io/library/busybox:latest"]


def test_stages_that_the_target_does_not_need_ask_nothing() -> None:
    bridge = bridge_of("FROM no-such-image AS a\nFROM busybox\n")
    asyncio.run(DockerfileFrontend().convert(bridge))
    assert [call["ref"] for call in bridge.calls] == ["docker.io/library/busybox:latest"]


def test_a_long_chain_of_stages_is_lowered() -> None:
    lines = ["FROM busybox AS s0", *(f"FROM s{n} AS s{n + 1}" for n in range(2000))]
    assert lower("\n".join(lines) + "\n").image.config.cmd == ["sh"]


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1500, "1.5µs"),
        (2 * 10**6, "2ms"),
        (90 * 10**9, "1m30s"),
        (3600 * 10**9, "1h0m0s"),
    ],
)
def test_durations_are_written_as_go_writes_them(nanoseconds: int, text: str) -> None:
    assert format_duration(nanoseconds) == text


def test_csv_fields_may_be_quoted() -> None:
    assert texts('a,"b,c","say ""hi""",') == ["a", "b,c", 'say "hi"', ""]
    with pytest.raises(CSVError):
        texts('a,b"c')
    with pytest.raises(CSVError):
        texts('"open')


def test_a_known_word_has_no_suggestion() -> None:
    assert suggest("run", ["run", "ran"]) == ""
    assert suggest("RNU", ["run"], case_sensitive=False) == "RUN"
    assert suggest("far", ["elsewhere"]) == ""


@pytest.mark.parametrize(
    ("parent", "path", "expected"),
    [
        ("/w", "a/", "/w/a/"),
        ("/w", "./", "/w/"),
        ("/w", "/a/..", "/a/.."),
        ("w", "b", "/w/b"),
        ("/w", "a/.", "/w/a/."),
    ],
)
def test_destinations_keep_their_slash(parent: str, path: str, expected: str) -> None:
    assert normalize(parent, path, "linux", keep_slash=True) == expected
