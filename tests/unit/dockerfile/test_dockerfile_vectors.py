# SPDX-License-Identifier: Apache-2.0
"""The recorded Dockerfiles: what BuildKit made of them is what we make of them, but for a written list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import conformance
from conformance.dockerfile_vectors import run_case

VECTORS = Path(conformance.__file__).parent / "vectors"
KNOWN_DIFFERENCES = frozenset(
    [
        "check-all-three-options",
        "check-error-true",
        "copy-from-onbuild-ignored-in-own-stage",
        "devices-with-labs-run-device",
        "epoch-stage",
        "epoch-stage-git",
        "err-check-directive-bad-key",
        "err-check-directive-invalid",
        "err-platform-bad",
        "err-platform-option-bad",
        "err-platform-unknown-word",
        "maincontext-http-dockerfile",
        "run-device-labs",
        "win-basic",
        "win-paths",
    ]
)
"""Cases that differ. One that no longer does fails here too, so that the list only ever shrinks."""


def _read(name: str) -> Any:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


CASES = {case["name"]: case for case in _read("dockerfile.open.json")}


@pytest.fixture(scope="module")
def images() -> Any:
    return _read("images.json")


@pytest.mark.parametrize("name", sorted(CASES.keys() - KNOWN_DIFFERENCES))
def test_ops_config_and_errors_are_those_recorded(name: str, images: Any) -> None:
    assert run_case(CASES[name], images) == ""


@pytest.mark.parametrize("name", sorted(KNOWN_DIFFERENCES))
def test_a_known_difference_is_still_one(name: str, images: Any) -> None:
    assert run_case(CASES[name], images) != "", "it no longer differs: take it off the list"
