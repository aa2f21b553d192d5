# SPDX-License-Identifier: Apache-2.0
"""``# syntax=`` and BUILDKIT_SYNTAX: which frontend answers for a Dockerfile."""

from __future__ import annotations

import asyncio
import json
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends import registry
from llbkit.frontends.base import Bridge, BuildResult
from llbkit.frontends.dockerfile.frontend import DockerfileFrontend
from llbkit.grammar import Diagnostic, DiagnosticError
from llbkit.records import dataclass

IMAGES = json.loads(
    (Path(__file__).parents[3] / "conformance" / "vectors" / "images.json").read_text(encoding="utf-8")
)
DEVICE = "FROM alpine:3.20\nRUN --device=vendor.example/gpu=all true\n"


@dataclass(frozen=True)
class Toy:
    """A frontend that says what it was asked for."""

    name: str = "toy"

    async def build(self, bridge: Bridge) -> BuildResult:
        return BuildResult(results=(), metadata={"toy": b"answered"})


@pytest.fixture
def toy(monkeypatch) -> None:
    """Install `Toy` as a package would."""
    point = EntryPoint("example/toy:1", f"{__name__}:Toy", registry.GROUP)
    monkeypatch.setattr(EntryPoint, "load", lambda self: Toy)
    monkeypatch.setattr(
        "importlib.metadata.entry_points",
        lambda *, group, name=None: [point] if group == registry.GROUP and name in (None, point.name) else [],
    )


def build(text: str, **attrs: str) -> BuildResult:
    bridge = RecordedBridge({"dockerfile": text, "frontend_attrs": attrs}, IMAGES)
    return asyncio.run(DockerfileFrontend().build(bridge))


def fault(text: str, **attrs: str) -> Diagnostic:
    with pytest.raises(DiagnosticError) as caught:
        build(text, **attrs)
    return caught.value.diagnostics[0]


@pytest.mark.parametrize("name", ["docker/dockerfile:1", "docker.io/docker/dockerfile-upstream:master"])
def test_the_official_frontend_is_answered_here(name: str) -> None:
    assert build(f"# syntax={name}\nFROM alpine:3.20\n").results
    assert "1-labs" in fault(f"# syntax={name}\n{DEVICE}").help


def test_the_labs_channel_has_devices() -> None:
    assert build(f"# syntax=docker/dockerfile:1-labs\n{DEVICE}").results
    assert build(
        f"# syntax=docker/dockerfile:1\n{DEVICE}", **{"build-arg:BUILDKIT_SYNTAX": "docker/dockerfile:labs"}
    ).results


@pytest.mark.usefixtures("toy")
def test_installed_languages_answer_whatever_the_file_holds() -> None:
    for text in (
        "#syntax=example/toy:1 with arguments\nhello\n",
        "// syntax=example/toy:1\nhello\n",
        '{"syntax": "example/toy:1"}',
    ):
        assert build(text).metadata == {"toy": b"answered"}
    argument = {"build-arg:BUILDKIT_SYNTAX": "example/toy:1"}
    assert build("# syntax=docker/dockerfile:1\nFROM scratch\n", **argument).metadata == {"toy": b"answered"}
    assert build("#syntax=example/toy:1\n", requestid="frontend.lint").metadata == {"toy": b"answered"}


@pytest.mark.usefixtures("toy")
def test_what_was_handed_on_is_not_handed_on_again() -> None:
    assert build("# syntax=example/toy:1\nFROM alpine:3.20\n", cmdline="docker/dockerfile:1").results


def test_other_images_are_refused_at_their_line_with_a_way_on() -> None:
    found = fault("# syntax=example.test/lang:1\nFROM alpine:3.20\n")
    assert found.code == "no-frontend"
    assert found.span is not None
    assert found.span.text == "# syntax=example.test/lang:1"
    assert "docker/dockerfile:1" in found.help
    found = fault("FROM alpine:3.20\n", **{"build-arg:BUILDKIT_SYNTAX": "example.test/lang:1"})
    assert found.span is None
    assert "BUILDKIT_SYNTAX=example.test/lang:1" in found.message
    assert (
        "does not name a frontend"
        in fault("FROM alpine:3.20\n", **{"build-arg:BUILDKIT_SYNTAX": " "}).message
    )
