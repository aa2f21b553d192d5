# SPDX-License-Identifier: Apache-2.0
"""Edits of a text: what a fix changes, which fixes fit together, and how they are applied."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from llbkit.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llbkit.grammar.source import Source, Span


@dataclass(frozen=True, slots=True)
class Edit:
    r"""Put ``text`` in the place of a span; one without length inserts. ``\n`` is written as the file ends its lines."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """Edits that belong together: all of them are applied, or none.

    ``title`` says what they do, in the imperative. A ``safe`` one leaves what is built as it is.
    """

    title: str
    edits: tuple[Edit, ...]
    safe: bool = True


class OverlapError(ValueError):
    """Two edits change the same characters, or insert at the same place, so that their order would matter."""


def apply_edits(source: Source, edits: Iterable[Edit]) -> str:
    """Return the text of a source with edits made; all other characters stay as they are. Equal edits count once.

    Cost: linear in the text, and in the edits but for sorting them.

    Raises:
        OverlapError: two of them overlap.
        ValueError: one is of another source.
    """
    text = source.text
    end_of_line = "\r\n" if "\r\n" in text else "\n"
    out: list[str] = []
    at = 0
    for edit in _ordered(edits):
        if edit.span.source is not source:
            raise ValueError(f"an edit of {edit.span.source.name} is none of {source.name}")
        out.append(text[at : edit.span.start])
        out.append(edit.text.replace("\n", end_of_line))
        at = edit.span.end
    return "".join((*out, text[at:]))


def fitting(fixes: Iterable[Fix]) -> list[Fix]:
    """Return the fixes that can be made together: each that overlaps none of those before it that can.

    Those left out may fit once the others are made and the text is looked at again.
    """
    out: list[Fix] = []
    taken: list[Edit] = []
    for fix in fixes:
        try:
            taken = _ordered((*taken, *fix.edits))
        except OverlapError:
            continue
        out.append(fix)
    return out


def _ordered(edits: Iterable[Edit]) -> list[Edit]:
    """Return edits in the order of the text. Raises OverlapError."""
    found = sorted(dict.fromkeys(edits), key=lambda edit: (edit.span.start, edit.span.end))
    for one, other in pairwise(found):
        both_insert = one.span.start == one.span.end == other.span.start == other.span.end
        if both_insert or other.span.start < one.span.end:
            raise OverlapError(f"two edits at offset {other.span.start}")
    return found
