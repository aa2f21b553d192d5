# SPDX-License-Identifier: Apache-2.0
"""The frontend attributes that only Dockerfiles have, beside those of every language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

from llbkit.frontends.base import Bridge
from llbkit.frontends.kit import options as common
from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.frontends.kit.lint.config import Config
from llbkit.llb.ir.ops import CDIDevice
from llbkit.records import dataclass

FILENAME = "Dockerfile"
_CHECK = "BUILDKIT_DOCKERFILE_CHECK"


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerfileOptions(common.Options):
    """``check`` are the check options of the build; ``devices`` are given to every RUN, ``labs`` allows RUN to ask for some."""

    check: Config | None
    devices: tuple[CDIDevice, ...] = ()
    labs: bool = False


def read_options(
    bridge: Bridge, *, devices: Sequence[CDIDevice] = (), labs: bool = False
) -> DockerfileOptions:
    """Read the attributes.

    Raises:
        ProgramError: one is malformed.
    """
    read = common.read_options(bridge.options, bridge.build_platforms, bridge.caps, filename=FILENAME)
    return DockerfileOptions(
        **{field.name: getattr(read, field.name) for field in fields(read)},
        check=_check(read.build_args),
        devices=tuple(devices),
        labs=labs,
    )


def _check(build_args: Mapping[str, str]) -> Config | None:
    if _CHECK not in build_args:
        return None
    try:
        return Config.parse(build_args[_CHECK])
    except ProgramError as error:
        raise error.prefixed(f"failed to parse build-arg:{_CHECK}: ") from None
