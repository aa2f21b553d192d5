# SPDX-License-Identifier: Apache-2.0
"""Platforms: what is read, how it is written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llbkit.llb.ir import platform as platforms
from llbkit.llb.ir.ops import Platform

ALIASES = [
    ("linux/amd64", "linux/amd64"),
    ("linux/x86_64", "linux/amd64"),
    ("linux/x86-64", "linux/amd64"),
    ("linux/amd64/v1", "linux/amd64"),
    ("linux/amd64/v2", "linux/amd64/v2"),
    ("linux/i386", "linux/386"),
    ("linux/aarch64", "linux/arm64"),
    ("linux/arm64/v8", "linux/arm64"),
    ("linux/arm64/8", "linux/arm64"),
    ("linux/arm64/v9", "linux/arm64/v9"),
    ("linux/arm64/9.0", "linux/arm64/v9"),
    ("linux/arm", "linux/arm/v7"),
    ("linux/arm/v6", "linux/arm/v6"),
    ("linux/arm/5", "linux/arm/v5"),
    ("linux/armhf", "linux/arm/v7"),
    ("linux/armel", "linux/arm/v6"),
    ("Linux/AMD64", "linux/amd64"),
    ("macos/arm64", "darwin/arm64"),
    ("linux/riscv64", "linux/riscv64"),
    ("windows/amd64", "windows/amd64"),
]


@pytest.mark.parametrize(("text", "canonical"), ALIASES)
def test_spellings_become_canonical(text: str, canonical: str) -> None:
    assert platforms.format(platforms.parse(text)) == canonical


@pytest.mark.parametrize(("text", "canonical"), ALIASES)
def test_the_canonical_spelling_stands_for_itself(text: str, canonical: str) -> None:
    platform = platforms.parse(text)
    assert platforms.normalize(platform) == platform
    assert platforms.parse(canonical) == platform


@pytest.mark.parametrize(
    ("name", "canonical"), [("arm64", "linux/arm64"), ("aarch64", "linux/arm64"), ("armhf", "linux/arm/v7")]
)
def test_an_architecture_alone_is_one_of_linux(name: str, canonical: str) -> None:
    assert platforms.format(platforms.parse(name)) == canonical


@pytest.mark.parametrize("name", ["linux", "windows", "darwin"])
def test_an_operating_system_alone_is_one_of_this_architecture(name: str) -> None:
    host = platforms.default()
    assert platforms.parse(name) == replace(host, os=name)


def test_a_version_may_follow_the_operating_system() -> None:
    platform = platforms.parse("windows(10.0.17763)/amd64")
    assert platform == Platform(os="windows", architecture="amd64", os_version="10.0.17763")


@pytest.mark.parametrize(
    "text", ["", "/", "linux/", "/amd64", "linux//v7", "a/b/c/d", "linux/am d64", "plan10", "linux/amd64\n"]
)
def test_other_texts_are_no_platforms(text: str) -> None:
    with pytest.raises(platforms.PlatformError):
        platforms.parse(text)


def test_features_and_version_are_kept() -> None:
    given = Platform(os="Windows", architecture="x86_64", os_version="10.0", os_features=("win32k",))
    assert platforms.normalize(given) == replace(given, os="windows", architecture="amd64")


def test_no_operating_system_is_unknown() -> None:
    assert platforms.format(Platform(os="", architecture="amd64")) == "unknown"
