# SPDX-License-Identifier: Apache-2.0
"""``--call`` values, and answers as they are shown."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from llbkit.cli.calls import Call, show
from llbkit.frontends import answers
from llbkit.request.csvflags import FlagError
from llbkit.request.values import BuildOutcome


def test_a_method_may_have_a_format_and_ignore_the_status() -> None:
    assert Call.parse("check") == Call("frontend.lint")
    assert Call.parse("outline,format=json") == Call("frontend.outline", json=True)
    assert Call.parse("lint,ignorestatus,format=text") == Call("frontend.lint", ignore_status=True)
    assert Call.parse("build").request == ""


@pytest.mark.parametrize(
    "text", ["", "chek", "check,format=yaml", "check,colour=1", "check,ignorestatus=maybe"]
)
def test_what_is_no_call_is_refused(text: str) -> None:
    with pytest.raises(FlagError):
        Call.parse(text)


WARNING = {"ruleName": "R", "description": "", "detail": "found", "location": {}}
LINT = {
    "result.json": json.dumps({"warnings": [WARNING], "sources": []}).encode(),
    "result.txt": b"\nWARNING: R\nfound\n",
    "result.statuscode": b"1",
    "result.errors": b"error: five of them",
}


def test_findings_are_counted_before_and_errors_told_after_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(Call.parse("check"), BuildOutcome(response={}, metadata=LINT), None) == 1
    out, err = capsys.readouterr()
    assert out == "Check complete, 1 warning has been found!\n\nWARNING: R\nfound\n"
    assert err == "error: five of them\n"


def test_the_status_can_be_ignored(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        show(Call.parse("check,ignorestatus,format=json"), BuildOutcome(response={}, metadata=LINT), None)
        == 0
    )
    assert json.loads(capsys.readouterr().out)["warnings"] == [WARNING]


def test_a_snippet_names_the_file_where_it_lies_here(capsys: pytest.CaptureFixture[str]) -> None:
    found = {**WARNING, "location": {"ranges": [{"start": {"line": 1}, "end": {"line": 1}}]}}
    answer = {"warnings": [found], "sources": [{"filename": "Dockerfile", "data": "RlJPTSBh"}]}
    outcome = BuildOutcome(response={}, metadata={"result.json": json.dumps(answer).encode()})
    show(Call.parse("check"), outcome, Path("some/where/Dockerfile"))
    assert "\nsome/where/Dockerfile:1\n" in capsys.readouterr().out


def test_a_frontend_that_answers_nothing_is_told_of() -> None:
    with pytest.raises(FlagError):
        show(Call.parse("outline"), BuildOutcome(response={}, metadata={}), None)


def test_a_snippet_cuts_lines_that_no_screen_holds() -> None:
    source = {"filename": "Dockerfile", "data": base64.b64encode(b"x" * 100_000).decode()}
    where = {"ranges": [{"start": {"line": 1}, "end": {"line": 1}}]}
    text = answers.lint_text({"warnings": [{**WARNING, "location": where}] * 3, "sources": [source]})
    assert text.count("x…\n") == 3
    assert len(text) < 3000
