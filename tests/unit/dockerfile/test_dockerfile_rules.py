# SPDX-License-Identifier: Apache-2.0
"""Every rule finds what its INVALID texts show, and nothing in its VALID ones."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends.dockerfile.check import rules
from llbkit.frontends.dockerfile.check.check import Config, Linter, Rule
from llbkit.frontends.dockerfile.frontend import DockerfileFrontend
from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.frontends.kit.errors.places import NOWHERE
from llbkit.grammar import Diagnostic

VECTORS = Path(__file__).parents[3] / "conformance" / "vectors"
IMAGES = json.loads((VECTORS / "images.json").read_text())


async def _warnings(text: str, **attrs: str) -> list[Diagnostic]:
    bridge = RecordedBridge({"dockerfile": text, "frontend_attrs": attrs}, IMAGES)
    with suppress(ProgramError):  # warnings are reported before an error too
        await DockerfileFrontend().convert(bridge)
    return bridge.warnings


def warnings(text: str, **attrs: str) -> list[Diagnostic]:
    return asyncio.run(_warnings(text, **attrs))


INVALID = [(module, text) for module in rules.MODULES for text in module.INVALID]
VALID = [(module, text) for module in rules.MODULES for text in module.VALID]


@pytest.mark.parametrize(("module", "text"), INVALID)
def test_an_invalid_text_is_found_and_pointed_at(module: ModuleType, text: str) -> None:
    found = [warning for warning in warnings(text) if warning.code == module.RULE.name]
    assert found
    assert all(warning.span is not None for warning in found)


@pytest.mark.parametrize(("module", "text"), VALID)
def test_a_valid_text_is_silent(module: ModuleType, text: str) -> None:
    assert [w for w in warnings(text) if w.code == module.RULE.name] == []


def test_every_file_of_the_folder_is_listed() -> None:
    folder = Path(rules.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert {module.__name__.rpartition(".")[2] for module in rules.MODULES} == files
    assert len(rules.RULES) == 22


def test_every_rule_is_documented() -> None:
    for module in rules.MODULES:
        assert module.__doc__ is not None
        assert "Why:" in module.__doc__
        assert "Use instead:" in module.__doc__


@pytest.mark.parametrize("text", ["skip", "skip=A;nothing", "error=maybe", "mistake=A"])
def test_a_malformed_check_option_is_an_error(text: str) -> None:
    with pytest.raises(ProgramError) as caught:
        Config.parse(text)
    assert caught.value.diagnostics[0].code == "check-option"


def test_a_comment_adds_to_the_options_of_the_file_but_cannot_switch_rules_on_again() -> None:
    lint = Linter(Config.parse("skip=A")).with_comments(["check=skip=B"])
    for name in "ABC":
        lint.report(Rule(name=name, description=""), NOWHERE, "found")
    assert [warning.code for warning in lint.findings.warnings] == ["C"]


def test_only_the_first_platform_reports() -> None:
    found = warnings("FROM alpine:3.20\nCMD run\n", platform="linux/amd64,linux/arm64")
    assert [warning.code for warning in found] == ["JSONArgsRecommended"]
