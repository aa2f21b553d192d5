# SPDX-License-Identifier: Apache-2.0
"""Runs vectors of the ``dockerfile`` format: the frontend against a recorded world of image metadata."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from conformance.opjson import ops_of, source_of
from conformance.report import Failure, difference
from frontends.base import Ref, ResolvedImage, ResolvedSource, ResolveError, ResolveMode, Stat
from frontends.dockerfile.frontend import DockerfileFrontend
from frontends.dockerfile.lower.run import NO_OUTPUT
from grammar import Diagnostic, DiagnosticError
from llb import Graph, State
from llb import platform as platforms
from llb.ops import Platform
from llb.reference import parse as parse_reference


@dataclass(eq=False)
class _Ref:
    state: State
    platform: Platform | None


@dataclass
class RecordedBridge:
    """A bridge over recorded metadata and the files that a case gives."""

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
        every = {"exec.meta.setsdefaultpath", "mergeop", "diffop", "exec.meta.ulimit", NO_OUTPUT}
        return frozenset(every - set(self._given.get("disabled_caps", ())))

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
        parsed = parse_reference(ref)
        known = self.images["oci_layout"] if oci_store else self.images["images"]
        key = oci_store or f"{parsed.name}:{parsed.tag or 'latest'}"
        if key not in known:
            raise ResolveError(f"{ref}: not found")
        entry = known[key]
        wanted = platform or self.build_platforms[0]
        variants = entry["variants"]
        if entry.get("single"):
            config = variants[0]["config"]
        else:
            found = [v for v in variants if platforms.parse(v["platform"]) == wanted]
            if not found:
                raise ResolveError(f"{ref}: no match for platform in manifest: not found")
            config = found[0]["config"]
        return ResolvedImage(
            ref=entry.get("resolved", ref), digest=parsed.digest or entry["digest"], config=config.encode()
        )

    async def resolve_source(
        self, identifier: str, attrs: Mapping[str, str], *, log_name: str = ""
    ) -> ResolvedSource:
        """Answer with the source as it is."""
        return ResolvedSource(identifier=identifier, attrs=attrs)

    async def solve(self, state: State, *, platform: Platform | None = None) -> Ref:
        """Keep a state."""
        return _Ref(state, platform)

    async def read_file(self, ref: Ref, path: str, *, offset: int = 0, length: int = 0) -> bytes:
        """Return a file of the case."""
        filename = self.options.get("filename", "Dockerfile")
        files = {
            filename: self.case["dockerfile"],
            ".dockerignore": self._given.get("dockerignore"),
            f"{filename}.dockerignore": self._given.get("dockerfile_dockerignore"),
        }
        text = files.get(path)
        if text is None:
            raise FileNotFoundError(path)
        return str(text).encode()

    async def read_dir(self, ref: Ref, path: str, *, include: str = "") -> Sequence[Stat]:
        """No directory is recorded."""
        raise FileNotFoundError(path)

    async def stat_file(self, ref: Ref, path: str) -> Stat:
        """No file is recorded beside those that can be read."""
        raise FileNotFoundError(path)

    async def inputs(self) -> Mapping[str, State]:
        """Return the recorded inputs."""
        from llb import scratch

        return {
            name: scratch().mkfile("/input.txt", text["content"] if isinstance(text, dict) else text, 0o644)
            for name, text in self.images.get("inputs", {}).items()
        }

    async def warn(self, diagnostic: Diagnostic) -> None:
        """Collect a warning."""
        self.warnings.append(diagnostic)


def run(cases: Sequence[Mapping[str, Any]], images: Mapping[str, Any]) -> list[Failure]:
    """Run every case and return those that differ."""
    failures = []
    for case in cases:
        text = run_case(case, images)
        if text:
            failures.append(Failure(str(case["name"]), text))
    return failures


def run_case(case: Mapping[str, Any], images: Mapping[str, Any]) -> str:
    """Run one case and return how it differs; "" if it does not."""
    bridge = RecordedBridge(case, images)
    try:
        result = asyncio.run(DockerfileFrontend().build(bridge))
        actual: dict[str, Any] = {"results": [_result(one, bridge) for one in result.results]}
    except DiagnosticError as error:
        actual = {"error": error.diagnostics[0].message}
    except ResolveError as error:
        actual = {"error": str(error)}
    except Exception as error:
        # A defect in one case must not hide the others; it is reported as that case's outcome.
        actual = {"defect": f"{type(error).__name__}: {error}"}
    expected = _expected(case)
    return difference(expected, actual)


def _expected(case: Mapping[str, Any]) -> dict[str, Any]:
    if "error" in case:
        return {"error": case["error"]["text"]}
    results = []
    for one in case["results"]:
        ops = [{"digest": o["digest"], "op": o["op"], "meta": o.get("meta", {})} for o in one["ops"]]
        results.append(
            {"head": one["head"], "ops": ops, "config": one["image_config"], "source": one.get("source")}
        )
    return {"results": results}


def _result(one: Any, bridge: RecordedBridge) -> dict[str, Any]:
    state, platform = one.ref.state, one.ref.platform
    graph: Graph = state.graph(platform=platform, caps=bridge.caps, local_unique_id="unique")
    return {
        "head": graph.head.vertex.digest if graph.head else "",
        "ops": ops_of(graph),
        "config": one.config.decode(),
        "source": source_of(graph),
    }
