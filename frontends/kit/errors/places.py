# SPDX-License-Identifier: Apache-2.0
"""The location of a part of a program: BuildKit's ranges (one range for each line), and the span to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llbkit.records import dataclass

if TYPE_CHECKING:
    from llbkit.grammar import Span


@dataclass(frozen=True, slots=True)
class Place:
    """Line ranges (both ends from 1, included) with the span that covers them; `NOWHERE` has neither."""

    span: Span | None = None
    lines: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of_lines(cls, span: Span, first: int, last: int) -> Place:
        """Return the place of a range of lines."""
        return cls(span, tuple((number, number) for number in range(first, last + 1)))

    @classmethod
    def covering(cls, span: Span) -> Place:
        """Return the place of all lines that a span touches."""
        return cls.of_lines(span, span.start_line, span.end_line)

    @property
    def spans(self) -> tuple[Span, ...]:
        """The span, if there is one."""
        return (self.span,) if self.span is not None else ()


NOWHERE = Place()
"""The place of what no instruction wrote, such as the image that ``--mount=from=`` names."""
