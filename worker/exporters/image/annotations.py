# SPDX-License-Identifier: Apache-2.0
"""Annotation attributes: ``annotation[-TYPE][[PLATFORM]].KEY=VALUE``.

TYPE is ``manifest`` (the default), ``index``, ``manifest-descriptor`` or ``index-descriptor``; a platform in literal
brackets limits it to that platform's manifest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field

from llbkit.records import dataclass
from llbkit.worker.exporters.base import ExportError

TYPES = ("manifest", "index", "manifest-descriptor", "index-descriptor")
_KEY = re.compile(r"annotation(?:-([a-z-]+))?(?:\[([^\]]*)\])?\.(.+)")


@dataclass(slots=True)
class Annotations:
    """Annotations by type; those of a platform are asked for with `of`."""

    _all: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)

    def add(self, key: str, value: str) -> None:
        """Add one attribute; a later one of the same key wins.

        Raises:
            ExportError: the key does not have the form of an annotation.
        """
        match = _KEY.fullmatch(key)
        kind = match[1] or "manifest" if match else ""
        if match is None or kind not in TYPES:
            raise ExportError(
                f"{key!r} is not an annotation attribute",
                help=f"write annotation[-TYPE].KEY=VALUE with TYPE one of {', '.join(TYPES)}",
            )
        platform = match[2] or ""
        if kind.startswith("index") and platform:
            raise ExportError(f"{key!r}: index annotations have no platform", help="remove the brackets")
        self._all.setdefault((kind, platform), {})[match[3]] = value

    def of(self, kind: str, platform: str = "") -> dict[str, str]:
        """Return the annotations of a type that hold for a platform ("linux/amd64")."""
        general = self._all.get((kind, ""), {})
        return {**general, **(self._all.get((kind, platform), {}) if platform else {})}

    def kinds(self) -> frozenset[str]:
        """Return the types that occur."""
        return frozenset(kind for kind, _ in self._all)


def collect(
    options: Mapping[str, str], *metadata: Mapping[str, bytes], oci: bool = True, index: bool = True
) -> Annotations:
    """Return the annotations of exporter attributes and, winning over them, of result metadata.

    Raises:
        ExportError: one is malformed, or cannot be stored in what is going to be written.
    """
    found = Annotations()
    for key, value in options.items():
        if key.startswith("annotation"):
            found.add(key, value)
    for table in metadata:
        for key, data in table.items():
            if key.startswith("annotation"):
                found.add(key, data.decode())
    extra = sorted(found.kinds() - {"manifest"})
    if extra and not oci:
        raise ExportError(
            f"{extra[0]} annotations require OCI media types", help="remove oci-mediatypes=false"
        )
    if not index and found.kinds() & {"index"}:
        raise ExportError(
            "index annotations require an index, but a single manifest is exported",
            help="build for several platforms, or use manifest: annotations",
        )
    return found
