# SPDX-License-Identifier: Apache-2.0
"""Which lines of which texts a vertex comes from: BuildKit's ``pb.Source``, kept beside the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from grammar import Source, Span


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SourceInfo:
    """A text that vertices point into; ``definition`` is the wire form of the graph that the text came from."""

    source: Source
    definition: bytes | None = None


@dataclass(frozen=True, slots=True)
class Location:
    """Line ranges (first and last, from 1) in the text number ``info``."""

    info: int
    lines: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SourceMap:
    """Texts, and for each vertex digest its locations in the order in which they were recorded."""

    infos: tuple[SourceInfo, ...] = ()
    locations: Mapping[str, tuple[Location, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def __bool__(self) -> bool:
        return bool(self.infos or self.locations)

    def spans(self, digest: str) -> tuple[Span, ...]:
        """Return the spans of a vertex, the last recorded location first: it is the one closest to the user."""
        return tuple(
            self.infos[location.info].source.lines(first, last)
            for location in reversed(self.locations.get(digest, ()))
            for first, last in location.lines
        )
