# SPDX-License-Identifier: Apache-2.0
"""The recorded Dockerfiles: what BuildKit made of them is what we make of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import conformance
from conformance.dockerfile_vectors import run_case

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
