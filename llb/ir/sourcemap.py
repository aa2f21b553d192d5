# SPDX-License-Identifier: Apache-2.0
"""The source lines of each vertex: BuildKit's ``pb.Source``, stored next to the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType

from llbkit.grammar import Source, Span
from llbkit.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SourceInfo:
    """A text that vertices point into; ``definition`` is the wire form of the graph that the text came from.

    ``unknown`` are wire fields of later versions.
    """

    source: Source
    definition: bytes | None = None
    unknown: bytes = b""


@dataclass(frozen=True, slots=True)
class Location:
    """Line ranges (first and last, from 1) in the text number ``info``.

    ``columns`` holds the first and last column of each range, in the same order; empty if all of them are 0, as they
    are wherever only lines are known.
    """

    info: int
    lines: tuple[tuple[int, int], ...]
    columns: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        assert not self.columns or len(self.columns) == len(self.lines), (
            "either every range has columns or none has"
        )

    @property
    def ranges(self) -> tuple[tuple[int, int, int, int], ...]:
        """The ranges as (first line, first column, last line, last column)."""
        columns = self.columns or ((0, 0),) * len(self.lines)
        return tuple(
            (first, left, last, right)
            for (first, last), (left, right) in zip(self.lines, columns, strict=True)
        )


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
