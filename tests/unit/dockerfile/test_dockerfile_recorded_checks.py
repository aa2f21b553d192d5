# SPDX-License-Identifier: Apache-2.0
"""Findings and errors are BuildKit's: ``tests/golden/checks.json`` holds what ``buildx build --call=check`` told."""

from __future__ import annotations

import asyncio
import json
import re
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends.dockerfile.frontend import DockerfileFrontend

ROOT = Path(__file__).parents[3]
IMAGES = json.loads((ROOT / "conformance" / "vectors" / "images.json").read_text())
RECORDED = json.loads((ROOT / "tests" / "golden" / "checks.json").read_text())
# BuildKit walks a set here, so several variables of one word come in any order.
UNORDERED = ("UndefinedVar", "UndefinedArgInFrom")


def lint(case: dict[str, Any]) -> dict[str, Any]:
    attrs = {"requestid": "frontend.lint", **case.get("attrs", {})}
    options = {key: case[key] for key in ("dockerignore",) if key in case}
    bridge = RecordedBridge(
        {"dockerfile": case["dockerfile"], "frontend_attrs": attrs, "options": options}, IMAGES
    )
    return json.loads(asyncio.run(DockerfileFrontend().build(bridge)).metadata["result.json"])


def lines(location: dict[str, Any]) -> list[list[int | None]]:
    return [[item["start"].get("line"), item["end"].get("line")] for item in location.get("ranges", ())]


def settled(warnings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for rule, run in groupby(warnings, key=lambda warning: warning["rule"]):
        found = list(run)
        out += sorted(found, key=lambda w: (str(w["lines"]), w["message"])) if rule in UNORDERED else found
    return out


def in_this_world(text: str) -> str:
    """Take out what a registry adds, and the order of a set."""
    head, rules, names = text.partition("for rules: ")
    if rules:
        return head + rules + ", ".join(sorted(names.split(", ")))
    return re.sub(r"failed to resolve source metadata for \S+ ", "", text)


@pytest.mark.parametrize("case", RECORDED, ids=range(len(RECORDED)))
def test_findings_and_error_are_the_recorded_ones(case: dict[str, Any]) -> None:
    answer = lint(case)
    found = [
        {"rule": w["ruleName"], "message": w["detail"], "lines": lines(w["location"])}
        for w in answer["warnings"] or ()
    ]
    assert settled(found) == settled(case["warnings"])
    error = answer.get("buildError")
    told = {"text": in_this_world(error["message"]), "lines": lines(error["location"])} if error else None
    assert told == case.get("error")
