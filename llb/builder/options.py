# SPDX-License-Identifier: Apache-2.0
"""Options common to every step: BuildKit's constraints, as keyword arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, TypedDict

from llbkit.grammar import Source
from llbkit.llb.builder.arguments import expect
from llbkit.llb.ir import platform as platforms
from llbkit.llb.ir.graph import LinuxResources, Metadata, ProgressGroup
from llbkit.llb.ir.ops import Platform
from llbkit.records import dataclass

if TYPE_CHECKING:
    from llbkit.llb.builder.state import State

CUSTOM_NAME = "llb.customname"


@dataclass(frozen=True, slots=True, eq=False)
class SourceText:
    """A text that steps point into.

    ``state`` is what the text was read from, if it is to be recorded; ``definition`` is the same in wire form, for texts
    of finished graphs.
    """

    source: Source
    state: State | None = None
    definition: bytes | None = None


@dataclass(frozen=True, slots=True)
class At:
    """Line ranges of a text, both ends counted from 1 and included; ``columns`` as in `llbkit.llb.ir.sourcemap.Location`."""

    text: SourceText
    lines: tuple[tuple[int, int], ...]
    columns: tuple[tuple[int, int], ...] = ()


class Options(TypedDict, total=False):
    """Keyword options of every step.

    ``platform`` fixes the step's platform; ``name`` is what users see, ``description`` further words; ``ignore_cache``
    executes again; ``export_cache`` says whether a cache export includes the step; ``require`` are worker filters;
    ``resources`` limits the process without changing its key; ``at`` says where the step comes from.
    """

    platform: Platform | str | None
    name: str
    description: Mapping[str, str]
    ignore_cache: bool
    export_cache: bool
    progress_group: ProgressGroup
    require: Sequence[str]
    resources: LinuxResources
    local_unique_id: str
    at: Sequence[At]


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """Options in resolved form."""

    platform: Platform | None = None
    metadata: Metadata = Metadata(description=MappingProxyType({}))
    require: tuple[str, ...] = ()
    local_unique_id: str = ""
    at: tuple[At, ...] = ()

    @classmethod
    def of(cls, options: Options) -> Constraints:
        """Return the constraints of keyword options."""
        description = dict(options.get("description", {}))
        if "name" in options:
            description[CUSTOM_NAME] = options["name"]
        return cls(
            platform=as_platform(options.get("platform")),
            metadata=Metadata(
                ignore_cache=options.get("ignore_cache", False),
                description=description,
                export_cache=options.get("export_cache"),
                progress_group=options.get("progress_group"),
                linux_resources=options.get("resources"),
            ),
            require=tuple(options.get("require", ())),
            local_unique_id=options.get("local_unique_id", ""),
            at=tuple(options.get("at", ())),
        )


def as_platform(value: Platform | str | None) -> Platform | None:
    """Return a platform given as a value or as text.

    Raises:
        llbkit.llb.ir.platform.PlatformError: the text is not a platform.
    """
    if isinstance(value, str):
        return platforms.parse(value)
    expect("platform", "value", value, Platform, type(None))
    return value
