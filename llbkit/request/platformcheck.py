# SPDX-License-Identifier: Apache-2.0
"""Warnings where the platforms of a result are not those that were asked for, worded as BuildKit words them."""

from __future__ import annotations

import json
from dataclasses import replace

from llbkit.frontends.base import BuildResult
from llbkit.llb.ir import platform as platforms
from llbkit.llb.ir.ops import Platform
from llbkit.request.values import BuildRequest


def platform_warnings(request: BuildRequest, result: BuildResult) -> list[str]:
    """Return what to warn of: platforms named twice first and alone, then those that the result lacks or has beside."""
    asked = [text for text in request.options.get("platform", "").split(",") if text]
    if not asked or not result.results:
        return []
    wanted: dict[str, Platform] = {}
    warnings = []
    for text in asked:
        try:
            platform = platforms.normalize(platforms.parse(text))
        except platforms.PlatformError as error:
            warnings.append(f'Invalid platform result requested "{text}": {error}')
            continue
        if _full(platform) in wanted:
            warnings.append(f'Duplicate platform result requested "{text}"')
        wanted[_full(platform)] = platform
    if warnings:
        return warnings
    made = _made(result)
    if len(wanted) == len(made) == 1:
        (one,) = wanted.values()
        found = (
            made[0] if one.variant else replace(made[0], variant="")
        )  # an image may name more than was asked for
        want, have = platforms.format(one), platforms.format(found)
        return (
            [] if want == have else [f'Requested platform "{want}" does not match result platform "{have}"']
        )
    if not result.multi:
        return ["Multiple platforms requested but result is not multi-platform"]
    names = {_full(platform) for platform in made}
    if set(wanted) != names:
        lists = f"{','.join(sorted(wanted))} do not match result platforms {','.join(sorted(names))}"
        return [f"Requested platforms {lists}"]
    return []


def _made(result: BuildResult) -> list[Platform]:
    """Return the platforms of a result: the one that the config names if it is of one platform alone."""
    made = [platforms.normalize(one.platform) for one in result.results]
    config = result.results[0].config
    if result.multi or config is None:
        return made
    value = json.loads(config)
    system, machine, variant = (str(value.get(key) or "") for key in ("os", "architecture", "variant"))
    if not system or not machine:
        return made[:1]
    return [platforms.normalize(Platform(os=system, architecture=machine, variant=variant))]


def _full(platform: Platform) -> str:
    """Return a platform with its OS version, ``windows(10.0.1)/amd64``."""
    name, _, rest = platforms.format(platform).partition("/")
    version = f"({platform.os_version})" if platform.os_version else ""
    return f"{name}{version}/{rest}"
