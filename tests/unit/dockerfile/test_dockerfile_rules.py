# SPDX-License-Identifier: Apache-2.0
"""Every rule finds what its bad examples mark, mends them as they say, and finds nothing in its good ones."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends.dockerfile.check import profiles, rules
from llbkit.frontends.dockerfile.frontend import DockerfileFrontend
from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.frontends.kit.lint.config import Config
from llbkit.frontends.kit.lint.rule import Example, Rule
from llbkit.grammar import Diagnostic, apply_edits

VECTORS = Path(__file__).parents[3] / "conformance" / "vectors"
IMAGES = json.loads((VECTORS / "images.json").read_text())
EXAMPLES = [
    pytest.param(rule, example, bad, id=f"{rule.name}-{'bad' if bad else 'good'}-{number}")
    for rule in profiles.BUILDKIT
    for bad in (True, False)
    for number, example in enumerate(rule.bad if bad else rule.good)
]


def images_of(platform: str) -> dict[str, Any]:
    """Return the recorded images, whose configs tell one platform if it is given."""
    if not platform:
        return IMAGES
    system, machine = platform.split("/")
    text = json.dumps(IMAGES)
    for key, value in (("os", system), ("architecture", machine)):
        text = re.sub(rf'(\\"{key}\\": ?)\\"\w+\\"', rf'\1\\"{value}\\"', text)
    changed: dict[str, Any] = json.loads(text)
    return changed


async def _warnings(example: Example, **attrs: str) -> list[Diagnostic]:
    case = {
        "dockerfile": example.program,
        "frontend_attrs": attrs,
        "options": {"dockerignore": example.ignored},
    }
    bridge = RecordedBridge(case, images_of(example.image))
    with suppress(ProgramError):  # warnings are reported before an error too
        await DockerfileFrontend().convert(bridge)
    return bridge.warnings


def found_by(rule: type[Rule], example: Example) -> list[Diagnostic]:
    return [one for one in asyncio.run(_warnings(example)) if one.code == rule.name]


@pytest.mark.parametrize(("rule", "example", "bad"), EXAMPLES)
def test_examples(rule: type[Rule], example: Example, bad: bool) -> None:
    found = found_by(rule, example)
    if not bad:
        assert found == []
        return
    assert all(one.focus is not None for one in found), "every finding has an exact range"
    assert [(one.focus.start, one.focus.end) for one in found if one.focus] == example.ranges
    assert (
        all(
            one.span is not None and one.focus is not None and one.span.start <= one.focus.start
            for one in found
        )
        or rule.name == "NoEmptyContinuation"
    ), "BuildKit names the last line"
    assert all(
        edit.span.source is one.focus.source
        for one in found
        if one.focus
        for fix in one.fixes
        for edit in fix.edits
    )
    if not example.fixed:
        assert not any(one.fixes for one in found)
        return
    fixes = [fix for one in found for fix in one.fixes]
    source = fixes[0].edits[0].span.source
    assert apply_edits(source, [edit for fix in fixes for edit in fix.edits]) == example.fixed
    assert found_by(rule, replace(example, text=example.fixed)) == [], "what is mended is found no more"


async def _built(program: str) -> list[tuple[set[str], Any]]:
    """Return the vertices and the config of the image for each platform; its history tells how it was written."""
    bridge = RecordedBridge({"dockerfile": program, "frontend_attrs": {}}, IMAGES)
    out = []
    for one in await DockerfileFrontend().convert(bridge):
        graph = one.state.graph(platform=one.target_platform, caps=bridge.caps)
        image = json.loads(one.image.encode())
        out.append(({vertex.digest for vertex in graph}, {**image, "history": len(image["history"])}))
    return out


@pytest.mark.parametrize(("rule", "example", "bad"), [param for param in EXAMPLES if param.values[2]])
def test_safe_fixes_leave_what_is_built_as_it_is(rule: type[Rule], example: Example, bad: bool) -> None:
    safe = all(fix.safe for one in found_by(rule, example) for fix in one.fixes)
    if not example.fixed or not safe:
        return
    assert asyncio.run(_built(example.program)) == asyncio.run(_built(example.fixed))


def test_every_file_of_the_folder_is_a_rule_of_the_profile() -> None:
    folder = Path(rules.__file__).parent
    files = {path.stem for path in folder.glob("*/*.py")} - {"__init__"}
    assert {rule.__module__.rpartition(".")[2] for rule in profiles.BUILDKIT} == files
    assert len(profiles.BUILDKIT) == len({rule.name for rule in profiles.BUILDKIT}) == 22


@pytest.mark.parametrize("rule", profiles.BUILDKIT)
def test_every_rule_is_documented_and_shown(rule: type[Rule]) -> None:
    assert rule.__doc__ is not None
    assert "Why:" in rule.__doc__
    assert "Use instead:" in rule.__doc__
    assert rule.good
    assert rule.bad
    assert rule.handlers
    assert rule.name == rule.__name__


@pytest.mark.parametrize("text", ["skip", "skip=A;nothing", "error=maybe", "mistake=A"])
def test_a_malformed_check_option_is_an_error(text: str) -> None:
    with pytest.raises(ProgramError) as caught:
        Config.parse(text)
    assert caught.value.diagnostics[0].code == "check-option"


def test_a_comment_adds_to_the_options_of_the_file_but_cannot_switch_rules_on_again() -> None:
    text = "# check=skip=MaintainerDeprecated\nFROM alpine:3.20\n# check=skip=JSONArgsRecommended\nCMD a\nMAINTAINER b\nWORKDIR c\n"
    found = asyncio.run(_warnings(Example(text=text)))
    assert [warning.code for warning in found] == ["WorkdirRelativePath"]


def test_only_the_first_platform_reports() -> None:
    example = Example(text="FROM alpine:3.20\nCMD run\n")
    found = asyncio.run(_warnings(example, platform="linux/amd64,linux/arm64"))
    assert [warning.code for warning in found] == ["JSONArgsRecommended"]
