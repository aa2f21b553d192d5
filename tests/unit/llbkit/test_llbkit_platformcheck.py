# SPDX-License-Identifier: Apache-2.0
"""Warnings where the platforms of a result are not those that were asked for."""

from __future__ import annotations

import json

import pytest

from llbkit.frontends.base import BuildResult, PlatformResult
from llbkit.llb.ir import platform as platforms
from llbkit.request.platformcheck import platform_warnings
from llbkit.request.values import BuildRequest


def made(*names: str, multi: bool = False, config: str = "") -> BuildResult:
    raw = None
    if config:
        system, machine, *variant = config.split("/")
        raw = json.dumps({"os": system, "architecture": machine, "variant": "".join(variant)}).encode()
    results = tuple(
        PlatformResult(id=name, platform=platforms.parse(name), ref=None, config=raw) for name in names
    )
    return BuildResult(results=results, multi=multi)


@pytest.mark.parametrize(
    ("asked", "result", "said"),
    [
        ("", made("linux/amd64"), []),
        ("linux/x86_64", made("linux/amd64", config="linux/amd64"), []),
        ("linux/amd64,linux/arm64/v8", made("linux/amd64", "linux/arm64", multi=True), []),
        ("linux/amd64,linux/x86_64", made("linux/amd64", "linux/amd64", multi=True),
         ['Duplicate platform result requested "linux/x86_64"']),
        ("linux/amd64,linux/arm64", made("linux/amd64"),
         ["Multiple platforms requested but result is not multi-platform"]),
        ("linux/amd64,linux/arm64", made("linux/amd64", "linux/s390x", multi=True),
         ["Requested platforms linux/amd64,linux/arm64 do not match result platforms linux/amd64,linux/s390x"]),
        ("linux/arm64", made("linux/arm64", config="linux/amd64"),
         ['Requested platform "linux/arm64" does not match result platform "linux/amd64"']),
        ("linux/amd64,l!nux/x", made("linux/amd64"), [("Invalid platform result requested \"l!nux/x\": invalid platform 'l!nux/x': "
         "use os/architecture, for example linux/arm64")]),
        ("linux/amd64", made("linux/amd64", config="linux/amd64/v2"), []),
        ("linux/amd64/v3", made("linux/amd64", config="linux/amd64/v2"),
         ['Requested platform "linux/amd64/v3" does not match result platform "linux/amd64/v2"']),
        ("windows(10.0.1)/amd64,windows(10.0.2)/amd64",
         made("windows(10.0.1)/amd64", "windows(10.0.2)/amd64", multi=True), []),
        ("linux/amd64", made(), []),
    ],
)  # fmt: skip
def test_warnings_of_platforms(asked, result, said) -> None:
    assert platform_warnings(BuildRequest(options={"platform": asked}), result) == said
