# SPDX-License-Identifier: Apache-2.0
"""Select the manifest of an index for a platform: normalised, then the best of what it can run (containerd's order)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from llbkit.llb.ir.ops import Platform
from llbkit.llb.ir.platform import normalize
from llbkit.worker.oci import Descriptor

_ALWAYS = {"windows": ("win32k",)}
"""Features that every system of a kind has."""


def fallbacks(platform: Platform) -> Iterator[Platform]:
    """Yield what a machine of ``platform`` can run, best first."""
    platform = normalize(platform)
    yield platform
    number = platform.variant.removeprefix("v")
    if platform.architecture == "amd64":
        if number.isdigit():
            for lower in range(int(number) - 1, 1, -1):
                yield replace(platform, variant=f"v{lower}")
            yield replace(platform, variant="")
        yield replace(platform, architecture="386", variant="")
    elif platform.architecture == "arm" and number.isdigit():
        for lower in range(int(number) - 1, 4, -1):
            yield replace(platform, variant=f"v{lower}")
    elif platform.architecture == "arm64":
        yield from _arm64(platform, number)
        for lower in (8, 7, 6, 5):
            yield replace(platform, architecture="arm", variant=f"v{lower}")


def _arm64(platform: Platform, number: str) -> Iterator[Platform]:
    major, _, minor = number.partition(".")
    if not major.isdigit():
        return
    for lower in range(int(minor or 0) - 1, -1, -1):
        yield normalize(replace(platform, variant=f"v{major}.{lower}" if lower else f"v{major}"))
    if major == "9":
        for lower in range(min(int(minor or 0) + 5, 9), 0, -1):
            yield replace(platform, variant=f"v8.{lower}")
        yield replace(platform, variant="")


def choose(manifests: Sequence[Descriptor], platform: Platform) -> Descriptor | None:
    """Return the manifest of an index that suits ``platform`` best, None if none does.

    A manifest that needs features of the operating system suits only a platform that has them all (containerd's rule;
    ``win32k`` every Windows has).
    """
    known = [(normalize(m.platform), m) for m in manifests if m.platform is not None]
    for candidate in fallbacks(platform):
        for found, manifest in known:
            same = (found.os, found.architecture, found.variant) == (
                candidate.os,
                candidate.architecture,
                candidate.variant,
            )
            if same and set(found.os_features) <= {*candidate.os_features, *_ALWAYS.get(found.os, ())}:
                return manifest
    return next((m for m in manifests if m.platform is None and not m.annotations), None)
