# SPDX-License-Identifier: Apache-2.0
"""Export requests, the exporters' environment, and the parsing of attributes.

Source of attribute names and defaults: BuildKit's exporters at compatibility version 30.
"""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Protocol, cast

from llbkit.llb.ir.ops import Platform
from llbkit.records import dataclass
from llbkit.worker.base import (
    CancelToken,
    Compression,
    Fetch,
    Snapshot,
    Snapshotter,
    StatusReport,
    WorkerError,
)
from llbkit.worker.content.provider import Blobs
from llbkit.worker.images import ImageStore
from llbkit.worker.registry.push import Pusher
from llbkit.worker.remote import DescribedLayers

_NONE: Mapping[str, bytes] = MappingProxyType({})
EPOCH_ATTRIBUTE = "source-date-epoch"
_EPOCH_KEY = "source.date.epoch"
_SECONDS = re.compile(r"[+-]?[0-9]{1,19}")
_FIRST_SECOND, _LAST_SECOND = -62135596800, 253402300799  # of the years 1 to 9999
_VERSIONS = ("10", "20", "30")
"""Compatibility versions of BuildKit's results; the last is the default."""

_ZSTD_SINCE, _OCI_SINCE = 20, 30
_METADATA = ("containerimage.", "frontend.", "refs.platforms", "source.date.epoch", "image.name")


class ExportError(WorkerError):
    """A result cannot be exported as asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformExport:
    """One platform's result. ``id`` is its key in a multi-platform result, ``linux/amd64``."""

    id: str
    platform: Platform
    snapshot: Snapshot
    config: bytes | None = None
    base_config: bytes | None = None
    metadata: Mapping[str, bytes] = field(default_factory=lambda: _NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """One export.

    ``multi`` writes an index even for one platform. ``attrs`` are the exporter's attributes by their wire names,
    without ``type`` and ``dest``. ``names`` are image references (added to ``attrs["name"]``). ``dest`` is a file or
    directory; ``stream`` is written to instead if it is set.
    """

    results: tuple[PlatformExport, ...]
    multi: bool = False
    metadata: Mapping[str, bytes] = field(default_factory=lambda: _NONE)
    attrs: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    names: tuple[str, ...] = ()
    dest: Path | None = None
    stream: BinaryIO | None = None


class Layers(DescribedLayers, Protocol):
    """The members used of the layer store (`llbkit.worker.snapshot.layers.LayerStore`)."""

    def ensure(self, snapshot: Snapshot, cancel: CancelToken, report: StatusReport | None = None) -> None:
        """Fetch and unpack what is lazy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportTools:
    """The parts of the worker that exporters use.

    ``fetch`` brings a blob of a source into the store, see `llbkit.worker.base.Fetch`.
    """

    store: Blobs
    layers: Layers
    snapshotter: Snapshotter
    images: ImageStore
    pusher: Pusher
    fetch: Fetch
    clock: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One running export: the tools, how to stop it, where to report."""

    tools: ExportTools
    cancel: CancelToken
    report: StatusReport


@dataclass(slots=True)
class Attrs:
    """Reads attributes and remembers which were known."""

    values: Mapping[str, str]
    _known: set[str] = field(default_factory=set)

    def text(self, key: str, default: str = "") -> str:
        """Return an attribute as it is."""
        self._known.add(key)
        return self.values.get(key, default)

    def flag(self, key: str, default: bool = False, *, bare: bool = False) -> bool:
        """Return a boolean attribute; an empty value is true where ``bare`` says so.

        Raises:
            ExportError: not a boolean.
        """
        text = self.text(key, str(default).lower())
        if text in ("1", "t", "T", "true", "TRUE", "True") or (bare and not text):
            return True
        if text in ("0", "f", "F", "false", "FALSE", "False"):
            return False
        raise ExportError(f"{key}={text!r} is not a boolean", help="use true or false")

    def choice(self, key: str, options: Sequence[str], default: str) -> str:
        """Return an attribute that is one of ``options``.

        Raises:
            ExportError: it is not.
        """
        text = self.text(key, default) or default
        if text not in options:
            raise ExportError(f"{key}={text!r} is not supported", help=f"use one of {', '.join(options)}")
        return text

    def number(self, key: str) -> int | None:
        """Return an integer attribute, None if it is not given.

        Raises:
            ExportError: not an integer.
        """
        text = self.text(key)
        if not text:
            return None
        try:
            return int(text)
        except ValueError as error:
            raise ExportError(f"{key}={text!r} is not an integer") from error

    def refuse(self, key: str) -> None:
        """Accept an attribute only if it is off.

        Raises:
            ExportError: it is on.
        """
        if key in self.values and self.text(key) not in ("0", "f", "F", "false", "FALSE", "False", "none"):
            raise ExportError(f"{key} is not supported yet", help=f"remove it or set {key}=false")

    def rest(self, prefixes: Collection[str] = ()) -> dict[str, str]:
        """Return the attributes that were not requested and start with one of ``prefixes``.

        Raises:
            ExportError: there are others.
        """
        left = {key: value for key, value in self.values.items() if key not in self._known}
        for key in left:
            if not key.startswith(tuple(prefixes)):
                near = difflib.get_close_matches(key, {*self._known, "dest", "type"}, n=1)
                hint = (
                    f"did you mean {near[0]}?"
                    if near
                    else f"valid attributes: {', '.join(sorted(self._known))}"
                )
                raise ExportError(f"unknown attribute {key!r}", help=hint)
        return left


@dataclass(frozen=True, slots=True, kw_only=True)
class Epochs:
    """SOURCE_DATE_EPOCH, in seconds since 1970; None where there is none.

    ``of_platform`` has an entry for each result unless the output itself says the ``common`` one.
    """

    common: int | None = None
    of_platform: Mapping[str, int | None] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, platform: str) -> int | None:
        """Return the time of a platform's result."""
        return self.of_platform.get(platform, self.common)

    @property
    def whole(self) -> int | None:
        """The time of what holds all results: the latest of theirs, None if one has none."""
        times = list(self.of_platform.values()) or [self.common]
        known = [time for time in times if time is not None]
        return max(known) if len(known) == len(times) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOptions:
    """The attributes that all image exporters share."""

    names: tuple[str, ...]
    oci: bool
    compression: Compression
    level: int | None
    force_compression: bool
    epochs: Epochs
    rewrite_timestamp: bool
    metadata: Mapping[str, bytes]
    annotations: Mapping[str, str]


def image_options(request: ExportRequest, attrs: Attrs) -> ImageOptions:
    """Read the shared attributes. Call it after the exporter has read its own.

    Raises:
        ExportError: an attribute is unknown or wrong, or asks for what is not supported.
    """
    for key in ("sbom", "provenance", "attestation-inline", "prefer-nondist-layers"):
        attrs.refuse(key)
    attrs.flag("unpack", bare=True)
    names = [name.strip() for name in attrs.text("name").split(",") if name.strip() not in ("", "*")]
    if attrs.text("name") == "*":
        names += request.metadata.get("image.name", b"").decode().split(",")
    names += [name for name in request.names if name not in names]
    for key in ("compression", "compression-level"):
        if attrs.values.get(key) == "":
            raise ExportError(f"{key}= has no value", help=f"remove {key}=, or give a value")
    compression = attrs.choice("compression", ("gzip", "zstd", "uncompressed"), "gzip")
    level = attrs.number("compression-level")
    top = {"gzip": 9, "zstd": 22}.get(compression, 0)
    if level is not None and not 0 <= level <= top:
        raise ExportError(
            f"compression-level={level} is out of range for {compression}", help=f"use 0 to {top}"
        )
    version = int(attrs.choice("compatibility-version", _VERSIONS, _VERSIONS[-1]))
    oci = attrs.flag("oci-mediatypes", version >= _OCI_SINCE)
    _check_conflicts(attrs, compression, version, oci=oci)
    options = ImageOptions(
        names=tuple(dict.fromkeys(name for name in names if name)),
        oci=oci,
        compression=cast("Compression", compression),
        level=level,
        force_compression=attrs.flag("force-compression"),
        epochs=epochs(request, attrs),
        rewrite_timestamp=attrs.flag("rewrite-timestamp"),
        annotations={key: value for key, value in attrs.values.items() if key.startswith("annotation")},
        metadata={},
    )
    overrides = attrs.rest((*_METADATA, "annotation"))
    found = {key: value.encode() for key, value in overrides.items() if not key.startswith("annotation")}
    return replace(options, metadata={**request.metadata, **found})


def _check_conflicts(attrs: Attrs, compression: str, version: int, *, oci: bool) -> None:
    """Check what may not be asked for together. A default gives way, only what is written conflicts.

    Raises:
        ExportError: two attributes exclude each other.
    """
    artifact = attrs.flag("oci-artifact", version >= _OCI_SINCE) and "oci-artifact" in attrs.values
    if version < _ZSTD_SINCE and compression == "zstd":
        raise ExportError(
            f"compression=zstd is not supported at compatibility version {version}", help="use gzip"
        )
    if oci or "oci-mediatypes" not in attrs.values:
        return
    for needed, text in ((compression == "zstd", "compression=zstd"), (artifact, "oci-artifact=true")):
        if needed:
            raise ExportError(
                f'exporter option "{text}" conflicts with "oci-mediatypes=false"',
                help="remove oci-mediatypes=false",
            )


def files_options(request: ExportRequest, attrs: Attrs) -> tuple[bool, Epochs]:
    """Read what outputs of files share: whether platforms get directories of their own, and the times of their files.

    Call it after the exporter has read its own.

    Raises:
        ExportError: an attribute is unknown or wrong, or asks for what is not supported.
    """
    split = attrs.flag("platform-split", request.multi)
    times = epochs(request, attrs)
    attrs.text("attestation-prefix")
    for key in ("sbom", "provenance"):
        attrs.refuse(key)
    attrs.rest()
    return split, times


def parse_epoch(text: str) -> int | None:
    """Return SOURCE_DATE_EPOCH in seconds since 1970; None if it is not a whole number, or out of a calendar's range."""
    if not _SECONDS.fullmatch(text):
        return None
    seconds = int(text)
    return seconds if _FIRST_SECOND <= seconds <= _LAST_SECOND else None


def epochs(request: ExportRequest, attrs: Attrs) -> Epochs:
    """Return the times of the results: that of the attribute (empty: none), else those that the frontend says.

    Raises:
        ExportError: one is not a number.
    """
    given = attrs.text(EPOCH_ATTRIBUTE)
    if EPOCH_ATTRIBUTE in attrs.values:
        return Epochs(common=_epoch(f"{EPOCH_ATTRIBUTE}={given!r}", given) if given else None)
    said = {
        key: _epoch(f"{key} of the frontend: {value!r}", value.decode("utf-8", "replace"))
        for key, value in request.metadata.items()
        if key.partition("/")[0] == _EPOCH_KEY and value
    }
    common = said.get(_EPOCH_KEY)
    return Epochs(
        common=common,
        of_platform={one.id: said.get(f"{_EPOCH_KEY}/{one.id}", common) for one in request.results},
    )


def _epoch(shown: str, text: str) -> int:
    seconds = parse_epoch(text)
    if seconds is None:
        raise ExportError(f"{shown} is not a number of seconds since 1970")
    return seconds


def platform_dir(platform: Platform) -> str:
    """Return the name of a platform's directory in a split result: ``linux_arm_v7``."""
    return "_".join(part for part in (platform.os, platform.architecture, platform.variant) if part)
