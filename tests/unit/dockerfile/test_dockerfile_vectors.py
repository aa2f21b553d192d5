# SPDX-License-Identifier: Apache-2.0
"""The recorded Dockerfiles: what BuildKit made of them is what we make of them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from llbkit import conformance
from llbkit.conformance.dockerfile_vectors import run, run_case

VECTORS = Path(conformance.__file__).parent / "vectors"


def _read(name: str) -> Any:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


CASES = {case["name"]: case for case in _read("dockerfile.open.json")}


@pytest.fixture(scope="module")
def images() -> Any:
    return _read("images.json")


@pytest.mark.parametrize("name", sorted(CASES))
def test_everything_recorded_comes_out(name: str, images: Any) -> None:
    assert run_case(CASES[name], images) == ""


def test_a_changed_config_is_seen(images: Any) -> None:
    case = copy.deepcopy(CASES["copy-basic"])
    case["results"][0]["image_config"] += " "

    assert run_case(case, images) != ""


def test_a_missing_warning_is_seen(images: Any) -> None:
    case = copy.deepcopy(next(case for case in CASES.values() if case["warnings"]))
    case["warnings"] = []

    assert run_case(case, images) != ""


def test_a_defect_is_the_outcome_of_its_case_alone(images: Any) -> None:
    broken = {key: value for key, value in CASES["copy-basic"].items() if key != "dockerfile"}

    (failure,) = run([broken, CASES["copy-dot"]], images)

    assert "KeyError" in failure.difference
