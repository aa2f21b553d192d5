# SPDX-License-Identifier: Apache-2.0
"""The recorded world of ``images.json``: what registries and OCI layouts answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llbkit.llb.address.reference import parse as parse_reference
from llbkit.llb.ir import platform as platforms
from llbkit.llb.ir.ops import Platform
from llbkit.records import dataclass


class NotRecordedError(LookupError):
    """Nothing is recorded for a reference and platform; the message is the recorder's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedImage:
    """One image: the reference to use, the digest of its manifest or index, and the config of one platform."""

    ref: str
    digest: str
    config: str


def recorded_image(
    world: Mapping[str, Any], ref: str, platform: Platform, *, oci_store: str = ""
) -> RecordedImage:
    """Return what is recorded for a reference, in a registry or in an OCI layout.

    Raises:
        NotRecordedError: no image of that name, or none for the platform.
    """
    parsed = parse_reference(ref)
    known: Mapping[str, Any] = world.get("oci_layout" if oci_store else "images", {})
    entry = known.get(oci_store or f"{parsed.name}:{parsed.tag or 'latest'}")
    if entry is None:
        raise NotRecordedError(f"{ref}: not found")
    variants = entry["variants"]
    if not entry.get("single"):
        wanted = platforms.normalize(platform)
        variants = [variant for variant in variants if platforms.parse(variant["platform"]) == wanted]
    if not variants:
        raise NotRecordedError(f"{ref}: no match for platform in manifest: not found")
    return RecordedImage(
        ref=entry.get("resolved", ref), digest=parsed.digest or entry["digest"], config=variants[0]["config"]
    )
