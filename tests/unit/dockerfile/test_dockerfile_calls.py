# SPDX-License-Identifier: Apache-2.0
"""Subrequests answer as BuildKit did: ``tests/golden/calls.json`` holds what buildx printed for the same files."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends import answers
from llbkit.frontends.dockerfile.frontend import DockerfileFrontend
from llbkit.grammar import DiagnosticError
from tests.support.call_cases import CASES, CallCase

HERE = Path(__file__).parents[2]
IMAGES = json.loads((HERE.parent / "conformance" / "vectors" / "images.json").read_text())
RECORDED = {row["name"]: row for row in json.loads((HERE / "golden" / "calls.json").read_text())}
REQUESTS = {"check": "frontend.lint", "outline": "frontend.outline", "targets": "frontend.targets"}


def ask(case: CallCase, request: str) -> Mapping[str, bytes]:
    options = {"dockerignore": case.ignore} if case.ignore else {}
    attrs = {**case.attrs, "requestid": request}
    bridge = RecordedBridge({"dockerfile": case.text, "frontend_attrs": attrs, "options": options}, IMAGES)
    return asyncio.run(DockerfileFrontend().build(bridge)).metadata


def _without_world(message: str) -> str:
    head, rules, names = message.partition("violation found for rules: ")
    if rules:  # BuildKit lists them in no order
        return head + ", ".join(sorted(names.split(", ")))
    return re.sub(r"failed to resolve source metadata for \S+ ", "", message)


def comparable(answer: Any) -> Any:
    """Take out what each run or world has of its own: sessions and the words of a registry."""
    for source in answer.get("sources") or ():
        if isinstance(source, dict):
            found = source["definition"]  # digests depend on the session
            found["metadata"] = sorted(map(json.dumps, found["metadata"].values()))
            found["def"], found["Source"]["locations"] = len(found["def"]), len(found["Source"]["locations"])
    if error := answer.get("buildError"):
        error["message"] = _without_world(error["message"])
    return answer


ASKED = [(case, call) for case in CASES for call in case.calls]
ANSWERED = [(case, call) for case, call in ASKED if RECORDED[case.name][call]["json"] is not None]
REFUSED = [(case, call) for case, call in ASKED if RECORDED[case.name][call]["json"] is None]


def _id(value: object) -> str:
    return value.name if isinstance(value, CallCase) else str(value)


@pytest.mark.parametrize(("case", "call"), ANSWERED, ids=_id)
def test_an_answer_is_buildkits(case: CallCase, call: str) -> None:
    recorded = RECORDED[case.name][call]
    found = ask(case, REQUESTS[call])
    value = json.loads(found["result.json"])
    assert comparable(value) == comparable(recorded["json"])
    assert list(value) == list(recorded["json"])
    text = found["result.txt"].decode()
    if call == "check":
        assert found["result.statuscode"] == str(recorded["status"]).encode()
        summary = answers.lint_summary(value)
        text = f"{summary}\n{text}" if summary else text
    # The client ends what it shows of an answer with an error by an empty line; the error follows elsewhere.
    assert text == (recorded["text"].removesuffix("\n") if "buildError" in value else recorded["text"])


@pytest.mark.parametrize(("case", "call"), REFUSED, ids=_id)
def test_what_buildkit_refuses_is_refused_in_its_words(case: CallCase, call: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        ask(case, REQUESTS[call])
    first_line = RECORDED[case.name][call]["error"].splitlines()[0]
    assert first_line == f"ERROR: failed to build: failed to solve: {caught.value.diagnostics[0].message}"
