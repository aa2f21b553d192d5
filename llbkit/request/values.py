# SPDX-License-Identifier: Apache-2.0
"""Build requests as plain values: the engine's input, from the command line or a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from llbkit.records import dataclass
from llbkit.request.csvflags import FlagError, boolean, fields, pairs

if TYPE_CHECKING:
    from llbkit.llb import State

OUTPUT_TYPES = ("local", "tar", "oci", "docker", "image", "registry", "cacheonly")
_EMPTY: Mapping[str, str] = MappingProxyType({})

Secret: TypeAlias = bytes | tuple[str, str]
"""A secret's value, or where it is: ``("file", path)`` or ``("env", variable)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One ``--output``: a type, where to ("-" is standard output, "" nowhere), and the exporter's attributes."""

    type: str
    dest: str = ""
    attrs: Mapping[str, str] = field(default_factory=lambda: _EMPTY)

    @classmethod
    def parse(cls, value: str) -> Output:
        """Read a flag value: ``type=oci,dest=out.tar``, a directory, or ``-`` for a tar on standard output.

        Raises:
            FlagError: the type is unknown, or the destination is missing or makes no sense for it.
        """
        parts = fields("--output", value)
        if len(parts) == 1 and "=" not in parts[0]:
            return cls(type="tar", dest="-") if parts[0] == "-" else cls(type="local", dest=parts[0])
        attrs = pairs("--output", parts)
        kind = attrs.pop("type", "")
        if kind not in OUTPUT_TYPES:
            raise FlagError(
                f"--output: unknown type {kind!r}" if kind else "--output: type= is missing",
                help="valid types: " + ", ".join(OUTPUT_TYPES),
            )
        if kind == "registry":
            kind = "image"
            attrs = {"push": "true", "store": "false", **attrs}
        dest = attrs.pop("dest", "")
        if kind == "image" and dest:
            raise FlagError("--output: type=image does not support dest", help="use name=NAME or --tag")
        if kind == "local" and dest in ("", "-"):
            raise FlagError("--output: type=local requires a directory", help="add dest=DIR")
        if kind in ("tar", "oci", "docker") and not dest:
            dest = "-"
        return cls(type=kind, dest=dest, attrs=attrs)

    def flag(self, key: str, default: bool) -> bool:
        """Return a boolean attribute."""
        return boolean("--output", key, self.attrs[key]) if key in self.attrs else default


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One build.

    ``options`` are the frontend attributes (wire names: ``filename``, ``build-arg:X``, ...); ``locals`` the directories
    it may read; ``secrets`` map ids to values or where they are; ``ssh`` maps ids to agent sockets or
    key files; ``allow`` holds entitlements; ``names`` are the image's references. ``inputs`` are states that the frontend
    may ask for; ``downloads`` maps files that are written before it runs to their HTTP addresses.
    """

    frontend: str = "dockerfile.v0"
    options: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    locals: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))
    oci_stores: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))
    inputs: Mapping[str, State] = field(default_factory=lambda: MappingProxyType({}))
    downloads: Mapping[Path, str] = field(default_factory=lambda: MappingProxyType({}))
    secrets: Mapping[str, Secret] = field(default_factory=lambda: MappingProxyType({}))
    ssh: Mapping[str, Sequence[str]] = field(default_factory=lambda: MappingProxyType({}))
    allow: frozenset[str] = frozenset()
    outputs: tuple[Output, ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOutcome:
    """What a build gave: the exporters' response (wire names) and the frontend's own answers.

    ``size`` is the exported image's in bytes, compressed, with all platforms; 0 if no image was exported.
    """

    response: Mapping[str, str]
    metadata: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    size: int = 0

    @property
    def digest(self) -> str:
        """The digest of the exported image's manifest or index; "" if no image was exported."""
        return self.response.get("containerimage.digest", "")

    @property
    def names(self) -> tuple[str, ...]:
        """The names that the image was given."""
        return tuple(name for name in self.response.get("image.name", "").split(",") if name)
