# SPDX-License-Identifier: Apache-2.0
"""The recorded text vectors, case by case, and a runner that does find differences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llbkit import conformance
from llbkit.conformance.text_vectors import RUNNERS

FOLDER = Path(conformance.__file__).parent / "vectors"
CASES = [
    pytest.param(part, case, id=f"{part}-{case['name']}")
    for part in sorted(RUNNERS)
    for case in json.loads((FOLDER / f"{part}.open.json").read_text("utf-8"))
]


@pytest.mark.parametrize(("part", "case"), CASES)
def test_the_outcome_is_the_recorded_one(part: str, case: dict[str, Any]) -> None:
    assert RUNNERS[part]([case]) == []


@pytest.mark.parametrize("part", sorted(RUNNERS))
def test_a_wrong_outcome_is_reported(part: str) -> None:
    cases = json.loads((FOLDER / f"{part}.open.json").read_text("utf-8"))
    swapped = [
        dict(first)
        | {key: second[key] for key in ("text", "word", "patterns", "dockerignore", "paths") if key in second}
        for first, second in zip(cases, cases[7:], strict=False)
    ]
    assert len({line.split(" ")[0].split(":")[0] for line in RUNNERS[part](swapped)}) > len(swapped) // 2
