# SPDX-License-Identifier: Apache-2.0
"""With a registry that cannot be reached, all rules report that need no image, and those that do say that they were skipped."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends.base import ResolvedImage, ResolveError, ResolveMode
from llbkit.frontends.dockerfile.check.profiles import BUILDKIT
from llbkit.frontends.dockerfile.frontend import DockerfileFrontend
from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.llb.ir.ops import Platform

VECTORS = Path(__file__).parents[3] / "conformance" / "vectors"
IMAGES = json.loads((VECTORS / "images.json").read_text())


class Offline(RecordedBridge):
    """No registry can be reached; or the one that there is has nothing."""

    unreachable = True

    async def resolve_image(
        self,
        ref: str,
        *,
        platform: Platform | None,
        mode: ResolveMode = "default",
        log_name: str = "",
        oci_store: str = "",
        oci_session: str = "",
    ) -> ResolvedImage:
        raise ResolveError("no route to host", help="plug it in", unreachable=self.unreachable)


class Empty(Offline):
    unreachable = False


def answer(text: str, bridge: type[Offline] = Offline, **attrs: str) -> tuple[dict[str, Any], str]:
    case = {"dockerfile": text, "frontend_attrs": {"requestid": "frontend.lint", **attrs}}
    found = asyncio.run(DockerfileFrontend().build(bridge(case, IMAGES))).metadata
    return json.loads(found["result.json"]), found.get("result.errors", b"").decode()


def rules(value: dict[str, Any]) -> list[str]:
    return [warning["ruleName"] for warning in value["warnings"] or ()]


@pytest.mark.parametrize(
    ("rule", "example"),
    [
        pytest.param(rule, example, id=f"{rule.name}-{number}")
        for rule in BUILDKIT
        if not rule.needs_image
        for number, example in enumerate(rule.bad)
        if not example.ignored
    ],
)
def test_rules_that_need_no_image_report(rule: Any, example: Any) -> None:
    value, _ = answer(example.program)
    assert rules(value).count(rule.name) == len(example.ranges)


def test_rules_that_need_an_image_say_so_and_are_skipped_alone() -> None:
    value, said = answer(
        "FROM a AS b\nCMD x\nCOPY $Y z\nWORKDIR d\nFROM b\nENTRYPOINT x\nFROM scratch\nCMD x\n"
    )
    assert rules(value) == ["WorkdirRelativePath", "JSONArgsRecommended"]
    assert value["warnings"][1]["location"]["ranges"][0]["start"]["line"] == 8
    note = "checks skipped without the config of docker.io/library/a:latest: "
    assert f"note: {note}InvalidBaseImagePlatform, JSONArgsRecommended, UndefinedVar" in said
    assert value["buildError"]["message"].startswith("a: no route to host")


def test_all_images_and_mistakes_are_told() -> None:
    value, said = answer("FROM a\nRUN --mount=type=x y\nFROM b\nEXPOSE z\n")
    assert value["buildError"]["message"].startswith("a: no route to host")
    for part in ("b: no route to host", "unsupported mount type", "invalid containerPort: z"):
        assert said.count(part) == 1


def test_what_is_skipped_on_purpose_is_not_told() -> None:
    _, said = answer("# check=skip=JSONArgsRecommended,InvalidBaseImagePlatform\nFROM a\nCMD x\n")
    assert "skipped" not in said
    _, said = answer(
        "# check=skip=InvalidBaseImagePlatform\nFROM a\n# check=skip=JSONArgsRecommended\nCMD x\n"
    )
    assert "skipped" not in said


def test_an_image_that_does_not_exist_ends_the_checks_as_in_buildkit() -> None:
    value, said = answer("FROM a AS b\nWORKDIR d\n", Empty)
    assert rules(value) == []
    assert "skipped" not in said


def test_named_contexts_that_cannot_be_reached_take_the_place_of_a_stage() -> None:
    value, _ = answer(
        "FROM scratch AS a\nWORKDIR d\nFROM a\nWORKDIR e\n", **{"context:a": "docker-image://x"}
    )
    assert rules(value) == ["WorkdirRelativePath"]
    assert value["warnings"][0]["location"]["ranges"][0]["start"]["line"] == 4


def test_a_build_fails_as_before() -> None:
    bridge = Offline({"dockerfile": "FROM a AS B\nWORKDIR d\n"}, IMAGES)
    with pytest.raises(ProgramError, match="no route to host"):
        asyncio.run(DockerfileFrontend().convert(bridge))
    assert [warning.code for warning in bridge.warnings] == ["StageNameCasing"]
