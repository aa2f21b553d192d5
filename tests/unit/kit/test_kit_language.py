# SPDX-License-Identifier: Apache-2.0
"""A second language on the kit: `languages.toy`. What it does not say itself, the kit does."""

from __future__ import annotations

import ast
import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from languages.toy import Toy

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends.base import BuildResult
from llbkit.frontends.kit import ClauseSeen, Finding, Language, Rule, hears
from llbkit.frontends.kit.subrequests import requests
from llbkit.grammar import Diagnostic, DiagnosticError, Edit, Fix, apply_edits
from llbkit.llb.ir import ops

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "tests" / "languages"
IMAGES = json.loads((ROOT / "conformance" / "vectors" / "images.json").read_text())
PROGRAM = """\
target base from alpine:3.20
  run apk add make  # a comment
target app from base
  arg VERSION = 1.0
  copy src to /app
  copy lib to /lib from busybox
"""


def bridge(program: str, **attrs: str) -> RecordedBridge:
    attrs.setdefault("filename", "build.toy")
    case = {"dockerfile": program, "frontend_attrs": attrs, "options": {"dockerignore": "secret\n"}}
    return RecordedBridge(case, IMAGES)


def build(program: str = PROGRAM, **attrs: str) -> tuple[BuildResult, RecordedBridge]:
    made = bridge(program, **attrs)
    return asyncio.run(Toy().build(made)), made


def found_ops(program: str = PROGRAM, **attrs: str) -> list[ops.Op]:
    result, _ = build(program, **attrs)
    (one,) = result.results
    return [vertex.op for vertex in one.ref.definition()]  # type: ignore[union-attr]


def refused(program: str, **attrs: str) -> Diagnostic:
    with pytest.raises(DiagnosticError) as caught:
        build(program, **attrs)
    (found,) = caught.value.diagnostics
    return found


def answer(request: str, program: str = PROGRAM, **attrs: str) -> Any:
    result, _ = build(program, requestid=request, **attrs)
    return json.loads(result.metadata["result.json"])


def test_the_language_is_at_most_40_lines_with_its_grammar() -> None:
    assert sum(len((FOLDER / name).read_text().splitlines()) for name in ("toy.py", "toy.lark")) <= 40


def test_the_language_stands_on_the_kit_alone() -> None:
    nodes = [*ast.walk(ast.parse((FOLDER / "toy.py").read_text()))]
    assert not [node for node in nodes if isinstance(node, ast.Import)]
    assert {node.module for node in nodes if isinstance(node, ast.ImportFrom)} == {"llbkit.frontends.kit"}


@pytest.mark.parametrize(
    ("program", "message", "pointed"),
    [
        ("target a from scratch\n  cpoy . to /\n", "unexpected 'cpoy' (did you mean copy?)", "cpoy"),
        ("target a from scratch\n  copy . /\n", "unexpected '/'", "/"),
        ("target a from Alpine\n", "invalid image reference", "Alpine"),
        ("target a from alpin\n", "alpin: ", "alpin"),
        (
            "target a from scratch\n  copy . to / from B@d\n",
            "invalid image reference",
            "copy . to / from B@d",
        ),
        ("target a from b\ntarget b from a\n", "circular dependency: a needs b needs a", "b"),
        ("target a from scratch\ntarget a from b\n", 'target "a" is already defined on line 1', None),
        ("", "no target to build", None),
    ],
)
def test_errors_point_at_the_source(program: str, message: str, pointed: str | None) -> None:
    found = refused(program)
    assert message in found.message
    if pointed is not None:
        assert found.span is not None
        assert found.span.text == pointed
        assert "^" * len(pointed) in found.render()
        assert "--> build.toy:" in found.render()


def test_a_missing_file_is_named() -> None:
    found = refused("", filename="")
    assert (found.code, found.message) == ("no-toy-file", "failed to read toy file: read /: is a directory")


def test_targets_stand_on_each_other_and_on_images() -> None:
    found = found_ops()
    sources = {op.identifier for op in found if isinstance(op, ops.Source)}
    assert {name.partition("@")[0] for name in sources} == {
        "docker-image://docker.io/library/alpine:3.20",
        "docker-image://docker.io/library/busybox:latest",
        "local://context",
    }
    (step,) = [op for op in found if isinstance(op, ops.Exec)]
    assert step.meta.args == ("/bin/sh", "-c", "apk add make  # a comment")
    assert step.meta.cwd == "/"


def test_only_what_is_copied_is_sent_and_the_ignore_file_counts() -> None:
    (context,) = [
        op for op in found_ops() if isinstance(op, ops.Source) and op.identifier == "local://context"
    ]
    assert json.loads(context.attrs["local.followpaths"]) == ["src"]
    assert json.loads(context.attrs["local.excludepatterns"]) == ["secret"]


def test_a_named_context_replaces_an_image() -> None:
    found = found_ops(
        **{"context:alpine:3.20": "docker-image://debian:bookworm", "context:busybox": "local:other"}
    )
    sources = [op.identifier for op in found if isinstance(op, ops.Source)]
    assert any("debian:bookworm" in name for name in sources)
    assert "local://other" in sources
    assert not any("alpine" in name or "busybox" in name for name in sources)


def test_attributes_of_the_build_reach_the_steps() -> None:
    (step,) = [
        op
        for op in found_ops(
            **{"add-hosts": "db=10.0.0.1", "force-network-mode": "none", "ulimit": "nofile=5"}
        )
        if isinstance(op, ops.Exec)
    ]
    assert step.network is ops.NetMode.NONE
    assert [(host.host, host.ip) for host in step.meta.extra_hosts] == [("db", "10.0.0.1")]
    assert [limit.name for limit in step.meta.ulimit] == ["nofile"]


def test_the_image_goes_on_from_its_base() -> None:
    result, _ = build(**{"label:a": "b", "build-arg:VERSION": "2", "build-arg:SOURCE_DATE_EPOCH": "0"})
    (one,) = result.results
    assert one.config is not None
    assert one.base_config is not None
    config, base = json.loads(one.config), json.loads(one.base_config)
    assert config["config"]["Env"] == [*base["config"]["Env"], "VERSION=2"]
    assert config["config"]["Labels"]["a"] == "b"
    added = config["history"][len(base["history"]) :]
    assert [entry["created_by"] for entry in added] == [
        "RUN /bin/sh -c apk add make  # a comment",
        "ENV VERSION=2",
        "COPY src /app",
        "COPY lib /lib",
    ]
    assert {(entry["comment"], entry["created"]) for entry in added} == {("toy", "1970-01-01T00:00:00Z")}
    assert result.metadata == {"source.date.epoch": b"0"}


def test_several_platforms_are_built_at_once() -> None:
    result, made = build(platform="linux/amd64,linux/arm64")
    assert result.multi
    assert [one.id for one in result.results] == ["linux/amd64", "linux/arm64"]
    assert [json.loads(one.config or b"")["architecture"] for one in result.results] == ["amd64", "arm64"]
    assert len([call for call in made.calls if call["kind"] == "image"]) == 4


def test_a_target_is_chosen_by_name() -> None:
    assert not [op for op in found_ops(target="base") if isinstance(op, ops.File)]
    found = refused(PROGRAM, target="bse")
    assert found.message == 'target "bse" could not be found (did you mean base?)'
    assert found.help == "defined targets: base, app"


def test_warnings_are_reported_by_builds_and_by_lint() -> None:
    program = PROGRAM.replace("base", "Base")
    _, made = build(program)
    assert [(one.code, one.span.text if one.span else "") for one in made.warnings] == [
        ("TargetCasing", "Base")
    ]
    found = answer(requests.LINT, program)
    assert [
        (one["ruleName"], one["location"]["ranges"][0]["start"]["line"]) for one in found["warnings"]
    ] == [("TargetCasing", 1)]
    assert found["sources"][0]["language"] == "toy"


class ShortNames(Rule):
    """A target's name is long."""

    name, description = "ShortNames", "Names should be short"

    @hears(ClauseSeen, "target")
    def look(self, fact: ClauseSeen) -> Iterator[Finding]:
        first = fact.clause.parts[0]
        if len(fact.clause.words[0]) > 3:
            fix = Fix(title="Cut the name", edits=(Edit(first.span, fact.clause.words[0][:3]),))
            yield Finding(f"Name '{fact.clause.words[0]}' is long", first.span, (fix,))


class StrictToy(Toy):
    rules = (ShortNames,)
    lint = Language.lint


def test_rules_hear_the_clauses_of_any_language() -> None:
    made = bridge(PROGRAM.replace("app", "application"))
    asyncio.run(StrictToy().build(made))
    assert [one.focus.text for one in made.warnings if one.focus] == ["base", "application"]
    source = made.warnings[0].focus.source if made.warnings[0].focus else None
    assert source is not None
    edits = [edit for one in made.warnings for fix in one.fixes for edit in fix.edits]
    assert apply_edits(source, edits).count("target app from") == 1
    assert made.warnings[0].span is not None
    assert made.warnings[0].span.start_line == 1


def test_lint_looks_at_every_target_and_reports_the_error() -> None:
    result, _ = build("target A from alpin\ntarget b from scratch\n", requestid=requests.LINT)
    found = json.loads(result.metadata["result.json"])
    assert [one["ruleName"] for one in found["warnings"]] == ["TargetCasing"]
    assert found["buildError"]["message"].startswith("alpin: ")
    assert result.metadata["result.statuscode"] == b"1"


def test_outline_lists_what_the_target_and_those_below_take() -> None:
    program = PROGRAM + "target top from app\n  arg LAST\n"
    found = answer(requests.OUTLINE, program, **{"build-arg:LAST": "x"})
    assert found["name"] == "top"
    assert [(arg["name"], arg["value"]) for arg in found["args"]] == [("VERSION", "1.0"), ("LAST", "x")]


def test_targets_and_describe_answer() -> None:
    found = answer(requests.TARGETS)
    assert [(one["name"], one.get("default"), one["base"]) for one in found["targets"]] == [
        ("base", None, "alpine:3.20"),
        ("app", True, "base"),
    ]
    assert requests.OUTLINE in [one["name"] for one in answer(requests.DESCRIBE, "not even read")]


def test_an_unknown_request_is_refused() -> None:
    assert "unsupported request frontend.x" in refused(PROGRAM, requestid="frontend.x").message
