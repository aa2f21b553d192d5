# SPDX-License-Identifier: Apache-2.0
"""What steps are called in progress views: ``[stage 2/5] RUN ...``, with the platform where there are several."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from llbkit.frontends.kit import platforms
from llbkit.llb.ir.graph import ProgressGroup
from llbkit.llb.ir.ops import Platform
from llbkit.records import dataclass


@dataclass(slots=True, kw_only=True)
class StepNames:
    """Numbers the steps of a stage: ``total`` are its steps (0: they are not numbered), ``count`` those named so far."""

    stage: str
    several_platforms: bool
    total: int = 0
    count: int = 0

    def next(
        self, text: str, platform: Platform | None, env: Mapping[str, str], *, onbuild: bool = False
    ) -> str:
        """Return a step's display name and count the step."""
        if self.total == 0:
            return text
        self.count += 1
        return self.again(text, platform, env, onbuild=onbuild)

    def again(
        self, text: str, platform: Platform | None, env: Mapping[str, str], *, onbuild: bool = False
    ) -> str:
        """Return a further display name of the step that was named last."""
        if self.total == 0:
            return text
        out = "["
        if self.several_platforms and platform is not None:
            out += platforms.format_all(platform) + _built_for(platform, env) + " "
        if self.stage:
            out += self.stage + " "
        out += f"{self.count:>{int(1 + math.log10(self.total))}}/{self.total}] "
        return out + ("ONBUILD " if onbuild else "") + text


def _built_for(base: Platform, env: Mapping[str, str]) -> str:
    """Return how the platform that a step builds for, as its arguments say, differs from the one it runs on."""
    wanted = _platform_of(env)
    if wanted is None:
        return ""
    wanted = platforms.normalize(
        replace(
            wanted,
            os=wanted.os or base.os,
            architecture=wanted.architecture or base.architecture,
        )
    )
    machine = "/".join(part for part in (wanted.architecture, wanted.variant) if part)
    if wanted.os != base.os:
        return f"->{wanted.os}/{machine}"
    if wanted.architecture != base.architecture:
        return f"->{machine}"
    return f"->{wanted.variant}" if wanted.variant != base.variant else ""


def _platform_of(env: Mapping[str, str]) -> Platform | None:
    known = {key: env[key] for key in ("TARGETOS", "TARGETARCH", "TARGETVARIANT") if key in env}
    if "TARGETPLATFORM" in env:
        try:
            return platforms.parse(env["TARGETPLATFORM"])
        except platforms.SpecifierError:
            pass
    if not known:
        return None
    return Platform(
        os=known.get("TARGETOS", ""),
        architecture=known.get("TARGETARCH", ""),
        variant=known.get("TARGETVARIANT", ""),
    )


def progress_groups(identity: str, name: str) -> tuple[ProgressGroup, ProgressGroup]:
    """Return the group of a linked copy: as its file step is in it, and as its merge is."""
    return ProgressGroup(id=identity, name=name, weak=True), ProgressGroup(id=identity, name=name)
