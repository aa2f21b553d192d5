# SPDX-License-Identifier: Apache-2.0
"""What a target's methods make of the graph, the image and the outline, for languages that say more than the toy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from languages.toy import Toy

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends.base import PlatformResult
from llbkit.frontends.kit import Clause, Target
from llbkit.frontends.kit.subrequests import requests
from llbkit.grammar import DiagnosticError
from llbkit.llb import secret, ssh
from llbkit.llb.ir import ops

IMAGES = json.loads((Path(__file__).parents[3] / "conformance" / "vectors" / "images.json").read_text())
TWO = "target base from alpine:3.20\ntarget app from base\n"
Lower = Callable[[Target, Clause], Awaitable[None]]


class Scripted(Toy):
    """The toy language's syntax with the lowering that a test gives."""

    def __init__(self, lower: Lower) -> None:
        self._lower = lower

    async def lower(self, program: Clause, target: Target) -> None:
        (block,) = (block for block in program.clauses if block.words[0] == target.name)
        await target.stand_on(block.words[1], block.span)
        await self._lower(target, block)


def run(lower: Lower, program: str = TWO, **attrs: str) -> Any:
    case = {"dockerfile": program, "frontend_attrs": {"filename": "build.toy", **attrs}}
    return asyncio.run(Scripted(lower).build(RecordedBridge(case, IMAGES)))


def steps(result: PlatformResult) -> list[ops.Exec]:
    graph = result.ref.definition()  # type: ignore[union-attr]
    return [vertex.op for vertex in graph if isinstance(vertex.op, ops.Exec)]


async def _everything(target: Target, block: Clause) -> None:
    if target.name == "base":
        target.arg("BELOW", block.span, default="1", description="what is below")
        target.run(["true"], block.span, mounts=[secret("/s", id="below"), ssh()])
        return
    target.env("A", "b")
    target.dir("/srv")
    target.dir("www")
    mounts = [target.cache("/c"), secret("/s", id="token", optional=True)]
    target.run(["make", "all"], block.span, mounts=mounts)
    target.image.config.cmd = ["serve"]
    target.commit('CMD ["serve"]', layer=False)


def test_settings_hold_for_later_steps_and_the_image() -> None:
    (one,) = run(_everything, **{"build-arg:BUILDKIT_CACHE_MOUNT_NS": "team"}).results
    _, made = steps(one)
    assert made.meta.cwd == "/srv/www"
    assert "A=b" in made.meta.env
    assert {mount.dest for mount in made.mounts} == {"/", "/c", "/s"}
    assert [mount.cache.id for mount in made.mounts if mount.cache is not None] == ["team//c"]
    config = json.loads(one.config or b"")
    assert config["config"]["WorkingDir"] == "/srv/www"
    assert config["config"]["Cmd"] == ["serve"]
    assert [entry["created_by"] for entry in config["history"][-5:]] == [
        "ENV A=b",
        "WORKDIR /srv",
        "WORKDIR www",
        "RUN make all",
        'CMD ["serve"]',
    ]


def test_the_outline_has_arguments_secrets_and_agents_of_all_that_is_needed() -> None:
    answer = json.loads(run(_everything, requestid=requests.OUTLINE).metadata["result.json"])
    assert [(arg["name"], arg["description"], arg["value"]) for arg in answer["args"]] == [
        ("BELOW", "what is below", "1")
    ]
    assert [(one["name"], one.get("required", False)) for one in answer["secrets"]] == [
        ("below", True),
        ("token", False),
    ]
    assert [one["name"] for one in answer["ssh"]] == ["default"]


def test_a_stage_that_is_not_to_be_cached_is_named() -> None:
    results = {names: run(_everything, **{"no-cache": names}).results[0] for names in ("app", "base", "")}
    for names, wanted in (("app", [False, True]), ("base", [True, False]), ("", [True, True])):
        one = results[names]
        graph = one.ref.definition()  # type: ignore[union-attr]
        found = [
            graph.metadata_of(vertex.digest).ignore_cache
            for vertex in graph
            if isinstance(vertex.op, ops.Exec)
        ]
        assert found == wanted


def test_targets_that_are_asked_for_at_once_are_lowered_once() -> None:
    lowered: list[str] = []

    async def lower(target: Target, block: Clause) -> None:
        lowered.append(target.name)
        await asyncio.sleep(0)
        if target.name == "top":
            await asyncio.gather(*(target.source(name, block.span) for name in ("left", "right", "base")))

    program = (
        "target base from scratch\ntarget left from base\ntarget right from base\ntarget top from scratch\n"
    )
    run(lower, program)
    assert sorted(lowered) == ["base", "left", "right", "top"]


def test_a_circle_of_targets_that_run_at_once_is_found() -> None:
    async def lower(target: Target, block: Clause) -> None:
        if target.name == "top":
            await asyncio.gather(target.source("a", block.span), target.source("b", block.span))

    async def all_of_it() -> None:
        case = {
            "dockerfile": "target a from b\ntarget b from a\ntarget top from scratch\n",
            "frontend_attrs": {"filename": "build.toy"},
        }
        async with asyncio.timeout(10):
            await Scripted(lower).build(RecordedBridge(case, {}))

    with pytest.raises(DiagnosticError, match="circular dependency"):
        asyncio.run(all_of_it())


def test_parts_of_a_program_make_errors_and_warnings_that_point_at_them() -> None:
    async def lower(target: Target, block: Clause) -> None:
        raise block.parts[1].error("not that one", hint="another")

    with pytest.raises(DiagnosticError) as caught:
        run(lower)
    (found,) = caught.value.diagnostics
    assert (found.message, found.help, found.span.text if found.span else "") == (
        "not that one",
        "another",
        "alpine:3.20",
    )
    report = json.loads(run(lower, requestid=requests.LINT).metadata["result.json"])
    assert report["buildError"]["location"]["ranges"][0]["start"]["line"] == 1


def test_arguments_about_platforms_are_known() -> None:
    async def lower(target: Target, block: Clause) -> None:
        assert target.arg("TARGETPLATFORM", block.span) == "linux/arm64"
        assert target.arg("BUILDPLATFORM", block.span) == "linux/amd64"
        assert target.arg("TARGETARCH", block.span, default="mine") == "mine"
        assert target.arg("OTHER", block.span) is None

    (one,) = run(lower, platform="linux/arm64").results
    assert one.id == "linux/arm64"
