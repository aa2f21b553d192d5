# SPDX-License-Identifier: Apache-2.0
"""Runs vectors of the ``dockerfile`` format: the frontend against a recorded world of image metadata."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import field
from datetime import datetime
from typing import Any

from llbkit.conformance.opjson import ops_of, source_of
from llbkit.conformance.report import Failure, difference, run_each
from llbkit.conformance.world import NotRecordedError, recorded_image
from llbkit.frontends import registry
from llbkit.frontends.base import (
    BuildResult,
    PlatformResult,
    ResolvedImage,
    ResolvedSource,
    ResolveError,
    ResolveMode,
    SolveRequest,
    Stat,
)
from llbkit.frontends.dockerfile.frontend import DockerfileFrontend
from llbkit.frontends.dockerfile.lower.convert import Converted
from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.frontends.kit.platforms import format_all
from llbkit.grammar import Diagnostic, DiagnosticError, Span
from llbkit.llb import Graph, LLBError, State
from llbkit.llb.ir import platform as platforms
from llbkit.llb.ir.caps import OFFERED
from llbkit.llb.ir.ops import CDIDevice, Platform
from llbkit.llb.ir.ops import Source as SourceOp
from llbkit.records import dataclass


class RecordedRef:
    """A result of which the files that a case gives can be read."""

    def __init__(self, state: State, platform: Platform, bridge: RecordedBridge) -> None:
        self._state = state
        self._platform = platform
        self._bridge = bridge

    @property
    def id(self) -> str:
        """The digest of the head, "" for scratch."""
        head = self.definition().head
        return head.vertex.digest if head is not None else ""

    def definition(self) -> Graph:
        """Return the graph of the state."""
        return self._state.graph(platform=self._platform, caps=self._bridge.caps)

    async def evaluate(self) -> None:
        """Do nothing: nothing is executed."""

    async def read_file(self, path: str, *, offset: int = 0, length: int = 0) -> bytes:
        """Return a file of the case."""
        return await self._bridge.read_source(_source_name(self._state), path, offset, length)

    async def read_dir(self, path: str, *, include: str = "") -> Sequence[Stat]:
        """No directory is recorded."""
        raise FileNotFoundError(path)

    async def stat_file(self, path: str) -> Stat:
        """No file is recorded besides those that can be read."""
        raise FileNotFoundError(path)


@dataclass
class RecordedBridge:
    """A bridge over recorded metadata and the files that a case gives. It records requests and answers."""

    case: Mapping[str, Any]
    images: Mapping[str, Any]
    options: Mapping[str, str] = field(default_factory=dict)
    warnings: list[Diagnostic] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    session_id: str = "vector-session"

    def __post_init__(self) -> None:
        self.options = dict(self.case.get("frontend_attrs", {}))
        self._given = self.case.get("options", {})

    @property
    def build_platforms(self) -> Sequence[Platform]:
        """The recorder's worker platform."""
        return [platforms.parse(self._given.get("build_platform", "linux/amd64"))]

    @property
    def caps(self) -> frozenset[str] | None:
        """All capabilities but the disabled ones."""
        return OFFERED - frozenset(self._given.get("disabled_caps", ()))

    async def resolve_image(
        self,
        ref: str,
        *,
        platform: Platform | None,
        mode: ResolveMode = "default",
        log_name: str = "",
        oci_store: str = "",
        oci_session: str = "",
    ) -> ResolvedImage:
        """Answer from the recorded images."""
        call = {"kind": "image", "ref": ref, "log_name": log_name}
        if platform is not None:
            call["platform"] = format_all(platform)
        call |= {"oci_store": oci_store, "oci_session": oci_session} if oci_store else {"resolve_mode": mode}
        self.calls.append(call)
        try:
            found = recorded_image(self.images, ref, platform or self.build_platforms[0], oci_store=oci_store)
        except NotRecordedError as error:
            raise ResolveError(str(error)) from None
        return ResolvedImage(ref=found.ref, digest=found.digest, config=found.config.encode())

    async def resolve_source(
        self, identifier: str, attrs: Mapping[str, str], *, log_name: str = ""
    ) -> ResolvedSource:
        """Answer HTTP sources with the recorded time, git sources with the recorded commit, and others with nothing."""
        self.calls.append(
            {"kind": "source", "identifier": identifier, "attrs": dict(attrs), "log_name": log_name}
        )
        commit, moment = b"", None
        if identifier.startswith("git://"):
            commit = self.images["git_commit_object"].encode()
        elif identifier.startswith(("http://", "https://")):
            moment = datetime.fromisoformat(self.images["http_last_modified"]).timestamp()
        return ResolvedSource(identifier=identifier, attrs=attrs, commit_object=commit, last_modified=moment)

    async def solve(self, request: SolveRequest) -> BuildResult:
        """Keep a state, or ask the frontend of that name."""
        if request.frontend:
            other = copy(self)
            other.options = request.options
            return await registry.load(request.frontend).build(other)
        state = request.definition
        assert isinstance(state, State), "recorded programs solve states"
        platform = request.platform or self.build_platforms[0]
        one = PlatformResult(id="", platform=platform, ref=RecordedRef(state, platform, self))
        return BuildResult(results=(one,))

    async def read_source(self, source: str, path: str, offset: int, length: int) -> bytes:
        """Return a file of the case, or the part asked for; ``source`` is the identifier of what it is read from."""
        if not path:
            raise IsADirectoryError(path)
        found = self._files(source).get(path)
        if found is None:
            raise FileNotFoundError(path)
        return found[offset : offset + length if length else None]

    def _files(self, source: str) -> dict[str, bytes | None]:
        filename = self.options.get("filename", "Dockerfile")
        program = self.case["dockerfile"].encode("utf-8", "surrogateescape")
        ignores: Mapping[str, str] = self._given.get("context_dockerignores", {})

        def text(value: str | None) -> bytes | None:
            return value.encode() if value is not None else None

        if source == "local://context":
            return {".dockerignore": text(self._given.get("dockerignore"))}
        own = f"local://{self.options.get('dockerfilekey') or 'dockerfile'}"
        if source.startswith("local://") and source != own:
            return {".dockerignore": text(ignores.get(source.removeprefix("local://")))}
        encoded = self._given.get("http_context_file_b64")
        return {
            filename: program,
            f"{filename}.dockerignore": text(self._given.get("dockerfile_dockerignore")),
            "context": base64.b64decode(encoded) if encoded else program,
        }

    async def inputs(self) -> Mapping[str, State]:
        """Return the recorded inputs."""
        from llbkit.llb import scratch

        return {
            name: scratch().mkfile("/input.txt", text, 0o644)
            for name, text in self.images.get("inputs", {}).items()
        }

    async def warn(self, diagnostic: Diagnostic) -> None:
        """Collect a warning."""
        self.warnings.append(diagnostic)


def _source_name(state: State) -> str:
    """Return the identifier of the one source of a state; "" if it is made of several steps."""
    graph = state.graph()
    (first, *others) = graph.vertices or (None,)
    if first is None or others or not isinstance(first.op, SourceOp):
        return ""
    return first.op.identifier


def run(cases: Sequence[Mapping[str, Any]], images: Mapping[str, Any]) -> list[Failure]:
    """Run every case and return those that differ."""
    return run_each(cases, lambda case: run_case(case, images))


def run_case(case: Mapping[str, Any], images: Mapping[str, Any]) -> str:
    """Run one case and return how it differs; "" if it does not."""
    bridge = RecordedBridge(case, images)
    given = case.get("options", {})
    frontend = DockerfileFrontend(
        labs=given.get("frontend") == "labs", devices=[_device(text) for text in given.get("devices", ())]
    )
    actual: dict[str, Any] = {}
    try:
        converted = asyncio.run(frontend.convert(bridge))
        actual["results"] = [_result(one, bridge) for one in converted]
    except DiagnosticError as error:
        actual["error"] = _error(error)
    except LLBError as error:
        actual["error"] = {"text": str(error), "locations": None}
    actual["warnings"] = [_warning(warning) for warning in bridge.warnings]
    actual["calls"] = _distinct(bridge.calls)
    return difference(*_comparable(_expected(case), actual, case))


def _device(text: str) -> CDIDevice:
    name, comma, _ = text.partition(",optional")
    return CDIDevice(name=name, optional=bool(comma))


def _comparable(
    expected: dict[str, Any], actual: dict[str, Any], case: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take out what the recording leaves open: equally right error texts, and the order of warnings."""
    texts = case.get("error", {}).get("text_alternatives", ())
    if "error" in actual and actual["error"]["text"] in texts:
        actual["error"]["text"] = expected["error"]["text"]
    if case.get("warnings_unordered"):
        for side in (expected, actual):
            side["warnings"].sort(key=lambda w: (w["lines"], w["rule"], w["message"]))
    return expected, actual


def _expected(case: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {
        "warnings": [
            {
                "rule": w["rule"],
                "description": w["description"],
                "url": w["url"],
                "message": w["message"],
                "lines": w["lines"],
            }
            for w in case["warnings"]
        ],
        "calls": case.get("resolve_calls", []),
    }
    if "error" in case:
        error = case["error"]
        out["error"] = {"text": error["text"], "locations": error.get("locations")}
        return out
    out["results"] = [
        {
            "platform": one["platform"],
            "head": one["head"],
            "ops": [{"digest": o["digest"], "op": o["op"], "meta": o.get("meta", {})} for o in one["ops"]],
            "config": one["image_config"],
            "base": one.get("base_image_config"),
            "epoch": one.get("epoch"),
            "ignore_cache": one.get("ignore_cache", False),
            "sbom": one.get("sbom_extras", {}),
            "source": one.get("source"),
        }
        for one in case["results"]
    ]
    return out


def _result(one: Converted, bridge: RecordedBridge) -> dict[str, Any]:
    def head(state: State) -> str:
        graph = state.graph(platform=one.target_platform, caps=bridge.caps, local_unique_id="unique")
        return graph.head.vertex.digest if graph.head else ""

    graph = one.state.graph(platform=one.target_platform, caps=bridge.caps, local_unique_id="unique")
    return {
        "platform": format_all(one.platform) if one.platform is not None else None,
        "head": graph.head.vertex.digest if graph.head else "",
        "ops": ops_of(graph),
        "config": one.image.encode().decode(),
        "base": one.base_image.encode().decode() if one.base_image is not None else None,
        "epoch": int(one.epoch.timestamp()) if one.epoch is not None else None,
        "ignore_cache": one.ignore_cache,
        "sbom": {name: head(state) for name, state in one.sbom.items()},
        "source": source_of(graph),
    }


def _error(error: DiagnosticError) -> dict[str, Any]:
    first = error.diagnostics[0]
    if isinstance(error, ProgramError):
        places = [[list(pair) for pair in place.lines] for place in error.locations]
        return {"text": first.message, "locations": places or None}
    # Errors of the parser: a directive on the first line is reported as line 0.
    return {"text": first.message, "locations": [_lines(first.spans) or [[0, 0]]]}


def _warning(warning: Diagnostic) -> dict[str, Any]:
    return {
        "rule": warning.code,
        "description": warning.detail,
        "url": warning.rule_url,
        "message": warning.message,
        "lines": _lines(warning.spans),
    }


def _lines(spans: Sequence[Span]) -> list[list[int]]:
    return [[number, number] for span in spans for number in range(span.start_line, span.end_line + 1)]


def _distinct(calls: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    unique = {json.dumps(call, sort_keys=True): call for call in calls}
    return [unique[key] for key in sorted(unique)]
