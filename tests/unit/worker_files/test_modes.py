# SPDX-License-Identifier: Apache-2.0
"""Symbolic modes give what BuildKit gives: ``chmod.json`` was recorded from ``COPY --chmod`` of its files and directories."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llbkit.frontends.dockerfile.errors.texts import ProgramError
from llbkit.frontends.dockerfile.program.chmod import read_mode
from llbkit.worker.base import FileOpError
from llbkit.worker.fs.modes import parse_mode

RECORDED = json.loads(Path(__file__).with_name("chmod.json").read_text())


@pytest.mark.parametrize("kind", ["files", "directories"])
@pytest.mark.parametrize("clauses", RECORDED["files"])
def test_symbolic_modes_change_special_bits_as_recorded(clauses, kind) -> None:
    change = parse_mode(clauses)
    found = [change(int(mode, 8), kind == "directories") for mode in RECORDED["modes"]]
    assert found == [int(mode, 8) for mode in RECORDED[kind][clauses].split()]
    assert read_mode(clauses) == clauses


@pytest.mark.parametrize("clauses", ["u+r,,g+w", ",", "u", "ur", "u+rq", "u+r,", "U+r", "u+R"])
def test_malformed_modes_are_refused(clauses) -> None:
    with pytest.raises(FileOpError, match="bad file mode"):
        parse_mode(clauses)
    with pytest.raises(ProgramError):
        read_mode(clauses)
