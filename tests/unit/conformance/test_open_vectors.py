# SPDX-License-Identifier: Apache-2.0
"""The open vectors that pass in full stay so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from llbkit.conformance.cli import command

VECTORS = Path(__file__).parents[3] / "conformance" / "vectors"


@pytest.mark.parametrize("part", ["ast", "dockerfile", "dockerignore", "llb", "shell"])
def test_every_open_case_passes(part: str) -> None:
    path = VECTORS / f"{part}.open.json"
    done = CliRunner().invoke(command, ["vectors", str(path)], standalone_mode=False)
    total = len(json.loads(path.read_text()))
    assert f"{total}/{total}" in done.output
    assert done.return_value == 0


def test_a_wrong_expectation_is_a_failure(tmp_path: Path) -> None:
    """The runner compares: a case whose recorded outcome is changed fails, with a difference that shows it."""
    case = json.loads((VECTORS / "ast.open.json").read_text())[0]
    case["end_line"] += 1
    path = tmp_path / "one.json"
    path.write_text(json.dumps([case]))
    done = CliRunner().invoke(command, ["vectors", str(path)], standalone_mode=False)
    assert done.return_value == 1
    assert "0/1" in done.output
    assert case["name"] in done.output
