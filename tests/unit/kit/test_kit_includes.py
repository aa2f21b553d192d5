# SPDX-License-Identifier: Apache-2.0
"""Included files: a language of this test whose program includes others, and what the kit refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import pytest
from languages.toy import Toy

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends.base import BuildResult
from llbkit.frontends.kit import Clause
from llbkit.frontends.kit.inputs import includes as kit_includes
from llbkit.frontends.kit.inputs.includes import Includes
from llbkit.frontends.kit.subrequests import requests
from llbkit.grammar import DiagnosticError, Source
from llbkit.records import dataclass

_MARK = "# include "


class Including(Toy):
    """The toy language with comments that include."""

    async def assemble(self, source: Source, includes: Includes) -> Clause:
        parts: list[Clause] = []
        at = 0
        for line in source.text.splitlines(keepends=True):
            if line.startswith(_MARK):
                path = line.removeprefix(_MARK).strip()
                start = at + len(_MARK)
                other = await includes.read(path, source.span(start, start + len(path)))
                parts += (await self.assemble(other, includes)).clauses
            at += len(line)
        program = self.read(source)
        return Clause(program.span, program.rule, (*parts, *program.clauses))


@dataclass(slots=True)
class Files(RecordedBridge):
    """A bridge whose program has files beside it."""

    files: Mapping[str, str] | None = None

    async def read_source(self, source: str, path: str, offset: int, length: int) -> bytes:
        if self.files is not None and path in self.files:
            return self.files[path].encode()
        return await RecordedBridge.read_source(self, source, path, offset, length)


def build(files: Mapping[str, str], **attrs: str) -> BuildResult:
    case = {"dockerfile": "", "frontend_attrs": {"filename": "build.toy", **attrs}}
    return asyncio.run(Including().build(Files(case, {}, files=files)))


def test_included_targets_can_be_stood_on_and_have_their_own_lines() -> None:
    files = {
        "build.toy": "# include parts/base.toy\ntarget app from base\n  run b\n",
        "parts/base.toy": "# include deep/tools.toy\n\ntarget base from tools\n",
        "parts/deep/tools.toy": "\n\n\ntarget tools from scratch\n  run a\n",
    }
    (one,) = build(files).results
    graph = one.ref.definition()  # type: ignore[union-attr]
    places = {str(span) for vertex in graph for span in graph.spans_of(vertex.digest)}
    assert places >= {"build.toy:3", "parts/deep/tools.toy:5"}


def test_findings_in_an_included_file_name_it() -> None:
    files = {"build.toy": "# include a.toy\ntarget app from A\n", "a.toy": "\ntarget A from scratch\n"}
    found = json.loads(build(files, requestid=requests.LINT).metadata["result.json"])
    assert [source["filename"] for source in found["sources"]] == ["build.toy", "a.toy"]
    (warning,) = found["warnings"]
    assert warning["location"]["sourceIndex"] == 1
    assert warning["location"]["ranges"][0]["start"]["line"] == 2
    text = build(files, requestid=requests.LINT).metadata["result.txt"].decode()
    assert "a.toy:2\n" in text
    targets = json.loads(build(files, requestid=requests.TARGETS).metadata["result.json"])["targets"]
    assert [one["location"].get("sourceIndex", 0) for one in targets] == [1, 0]


@pytest.mark.parametrize(
    ("files", "message", "place"),
    [
        ({"build.toy": "# include x.toy\n"}, "cannot include x.toy: no such file", "build.toy:1:11"),
        ({"build.toy": "# include ../x\n"}, "cannot include ../x: it is outside", "build.toy:1:11"),
        ({"build.toy": "# include /x\n"}, "cannot include /x: it is outside", "build.toy:1:11"),
        (
            {"build.toy": "# include a/b\n", "a/b": "\n# include ../../c\n"},
            "cannot include ../../c",
            "a/b:2:11",
        ),
        ({"build.toy": "# include build.toy\n"}, "build.toy includes build.toy", "build.toy:1:11"),
        (
            {"build.toy": "# include a\n", "a": "# include b\n", "b": "# include a\n"},
            "circular include: a includes b includes a",
            "b:1:11",
        ),
        (
            {"build.toy": "# include a\n", "a": "target a from scratch\n  cpoy\n"},
            "unexpected 'cpoy'",
            "a:2:3",
        ),
    ],
)
def test_what_cannot_be_included_is_shown_where_it_is_asked_for(
    files: Mapping[str, str], message: str, place: str
) -> None:
    with pytest.raises(DiagnosticError) as caught:
        build(files)
    (found,) = caught.value.diagnostics
    assert message in found.message
    assert f"--> {place}\n" in found.render()


def test_a_file_that_two_include_is_read_once() -> None:
    files = {"build.toy": "# include a\n# include a\n", "a": "target a from scratch\n"}
    with pytest.raises(DiagnosticError, match="already defined on line 1"):
        build(files)


def test_the_number_of_files_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit_includes, "MOST_FILES", 3)
    names = [f"f{number}" for number in range(5)]
    files = {"build.toy": "".join(f"# include {name}\n" for name in names), **dict.fromkeys(names, "")}
    with pytest.raises(DiagnosticError, match="may include 3 files"):
        build(files)
