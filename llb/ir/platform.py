# SPDX-License-Identifier: Apache-2.0
"""OCI platforms: reading, writing, normalising, matching.

Source: containerd's platform rules as BuildKit uses them (image-spec, image-index.md, and what containers agree on).
"""

from __future__ import annotations

import os
import re
from functools import cache

from llbkit.llb.ir.ops import Platform

_COMPONENT = re.compile(r"[A-Za-z0-9_.-]+(?:\([A-Za-z0-9_.+-]*\))?")
_OSES = frozenset(
    {"linux", "windows", "darwin", "freebsd", "openbsd", "netbsd", "wasip1", "plan9", "solaris", "js"}
)


class PlatformError(ValueError):
    """Invalid platform."""


def parse(text: str) -> Platform:
    """Return the normalised platform of ``os/arch[/variant]``, an architecture, or an operating system.

    Raises:
        PlatformError: it is none of these.
    """
    parts = text.split("/")
    if not 1 <= len(parts) <= 3 or not all(_COMPONENT.fullmatch(part) for part in parts):
        raise PlatformError(f"invalid platform {text!r}: use os/architecture, for example linux/arm64")
    name, _, version = parts[0].partition("(")
    version = version.removesuffix(")")
    if len(parts) == 1:
        if name.lower() in _OSES:
            host = default()
            return normalize(
                Platform(os=name, architecture=host.architecture, variant=host.variant, os_version=version)
            )
        known = normalize(Platform(os="linux", architecture=name))
        if known.architecture not in _ARCHITECTURES:
            raise PlatformError(f"unknown operating system or architecture {text!r}")
        return known
    variant = parts[2] if len(parts) == 3 else ""
    return normalize(Platform(os=name, architecture=parts[1], variant=variant, os_version=version))


_ARCHITECTURES = frozenset(
    [
        "386",
        "amd64",
        "arm",
        "arm64",
        "loong64",
        "mips",
        "mipsle",
        "mips64",
        "mips64le",
        "ppc64",
        "ppc64le",
        "riscv64",
        "s390x",
        "wasm",
    ]
)
_ALIASES = {
    "i386": ("386", ""),
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}


def normalize(platform: Platform) -> Platform:
    """Return the platform in its canonical spelling; no operating system is Linux, which builds run on."""
    system = platform.os.lower() or "linux"
    system = "darwin" if system == "macos" else system
    architecture, variant = platform.architecture.lower(), platform.variant.lower()
    if architecture in _ALIASES:
        architecture, implied = _ALIASES[architecture]
        variant = implied or variant
    match architecture:
        case "amd64" if variant == "v1":
            variant = ""
        case "arm64" if variant in ("8", "v8"):
            variant = ""
        case "arm64" if variant in ("9", "9.0", "v9.0"):
            variant = "v9"
        case "arm" if variant == "":
            variant = "v7"
        case "arm" if variant in ("5", "6", "7", "8"):
            variant = "v" + variant
    return Platform(
        os=system,
        architecture=architecture,
        variant=variant,
        os_version=platform.os_version,
        os_features=platform.os_features,
    )


def format(platform: Platform) -> str:  # noqa: A001
    """Return ``os/arch[/variant]``; an empty operating system is "unknown"."""
    if not platform.os:
        return "unknown"
    return "/".join(part for part in (platform.os, platform.architecture, platform.variant) if part)


@cache
def default() -> Platform:
    """Return the platform of this machine."""
    return normalize(Platform(os="linux", architecture=os.uname().machine))
