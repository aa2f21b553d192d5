# SPDX-License-Identifier: Apache-2.0
"""Whatever the options of a build: it is lowered, or refused with a diagnostic."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends.dockerfile.frontend import DockerfileFrontend
from llbkit.grammar import DiagnosticError
from llbkit.llb import StateError
from llbkit.llb.wire.encoding import encode

IMAGES = json.loads((Path(__file__).parents[2] / "conformance" / "vectors" / "images.json").read_text())
TEXT = """\
ARG V=3.20
FROM --platform=$BUILDPLATFORM alpine:$V AS b
ARG A
ARG SOURCE_DATE_EPOCH
ENV B=${A:-x} C=${A//a/b}
RUN --mount=type=cache,target=/c echo $A
FROM scratch AS e
ADD http://x.invalid/a /
FROM b
COPY --from=b $A /
WORKDIR $A
EXPOSE ${A:-80}
"""
KEYS = [
    "build-arg:A", "build-arg:V", "build-arg:SOURCE_DATE_EPOCH", "build-arg:BUILDKIT_CACHE_MOUNT_NS", "build-arg:BUILDKIT_DOCKERFILE_CHECK",
    "build-arg:BUILDKIT_MULTI_PLATFORM", "build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR", "build-arg:BUILDKIT_SYNTAX", "build-arg:http_proxy",
    "build-arg:BUILDPLATFORM", "build-arg:TARGETPLATFORM", "build-arg:BUILDKIT_SBOM_SCAN_STAGE", "build-arg:BUILDKIT_SANDBOX_HOSTNAME", "build-arg:",
    "label:", "label:a", "target", "filename", "platform", "multi-platform", "no-cache", "add-hosts", "shm-size", "ulimit", "cgroup-parent",
    "force-network-mode", "hostname", "memory", "memswap", "cpushares", "cpuperiod", "cpuquota", "cpusetcpus", "image-resolve-mode", "context",
    "context:alpine", "context:b", "context:scratch", "context:alpine:3.20::linux/amd64", "contextsubdir", "contextkey", "dockerfilekey", "requestid",
    "input-metadata:a", "local-sessionid:context", "cmdline",
]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(
        ["", "x", "b", "e", "0", "1", "-1", "true", "linux/arm64", "linux/amd64,linux/arm64", "windows/amd64", "a,b", 'a="', "a=1.2.3.4", "a=::1", "nofile=1:2",
         "nofile=2:1", "nofile=9999999999999999999999", "9" * 5000, "all", "skip=all;error=true", "docker-image://alpine", "docker-image://", "git@x:y", "https://[",
         "https://x.invalid/a.git#b:c", "http://x.invalid/a", "local:x", "input:a", "oci-layout://a@sha256:0", "oci-layout:", "\udcff", "\ud800", "\x00", "é", "\n", "$A", "${",
         "../x", "/", "[", "{}", '{"containerimage.config":"e30="}', '{"containerimage.config":1}', "frontend.lint", "frontend.outline", "host", "none", "docker/dockerfile:1"]
    ),
    st.text(max_size=8),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4))
def test_any_options_are_taken_or_refused(attrs: dict[str, str]) -> None:
    bridge = RecordedBridge({"dockerfile": TEXT, "frontend_attrs": attrs}, IMAGES)
    with suppress(DiagnosticError, StateError):
        for one in asyncio.run(DockerfileFrontend(labs=True).convert(bridge)):
            encode(one.state.graph(platform=one.target_platform))
            json.loads(one.image.encode())
    with suppress(DiagnosticError, StateError):
        asyncio.run(DockerfileFrontend().build(bridge))
