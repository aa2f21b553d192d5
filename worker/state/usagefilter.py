# SPDX-License-Identifier: Apache-2.0
"""Filters on usage records, in the syntax that ``buildctl du --filter`` takes.

A filter is a list of conditions joined by commas, all of which must hold: ``field==value``, ``field!=value``,
``field~=regular expression``, or a field alone, which holds if it is true or not empty. Of several filters one must match.
Fields: id, parents, description, type, inuse, mutable, immutable, shared, private.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Protocol

from llbkit.worker.base import WorkerError


class Described(Protocol):
    """What filters look at: `llbkit.worker.state.gc.Usage`."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def parents(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def description(self) -> str: ...  # noqa: D102
    @property
    def record_type(self) -> str: ...  # noqa: D102
    @property
    def in_use(self) -> bool: ...  # noqa: D102
    @property
    def mutable(self) -> bool: ...  # noqa: D102
    @property
    def shared(self) -> bool: ...  # noqa: D102


_FIELDS: dict[str, Callable[[Described], Sequence[str]]] = {
    "id": lambda one: (one.id,),
    "parents": lambda one: one.parents,
    "description": lambda one: (one.description,) if one.description else (),
    "type": lambda one: (one.record_type,),
    "inuse": lambda one: ("true",) if one.in_use else (),
    "mutable": lambda one: ("true",) if one.mutable else (),
    "immutable": lambda one: () if one.mutable else ("true",),
    "shared": lambda one: ("true",) if one.shared else (),
    "private": lambda one: () if one.shared else ("true",),
}
_CONDITION = re.compile(
    r"\s*(?P<field>[a-z]+)\s*(?:(?P<operator>==|!=|~=)\s*(?P<value>\"(?:[^\"\\]|\\.)*\"|[^,]*?))?\s*(?:,|$)"
)
_Condition = Callable[[Described], bool]


def compile_filters(texts: Sequence[str]) -> Callable[[Described], bool]:
    """Return whether a record matches one of the filters; all match if there are none.

    Raises:
        WorkerError: a filter is malformed.
    """
    filters = [_parse(text) for text in texts]
    return lambda one: not filters or any(all(holds(one) for holds in conditions) for conditions in filters)


def _parse(text: str) -> list[_Condition]:
    conditions: list[_Condition] = []
    at = 0
    while at < len(text):
        match = _CONDITION.match(text, at)
        if match is None or match["field"] not in _FIELDS:
            raise WorkerError(
                f"bad filter {text!r}", help=f"write FIELD==VALUE with one of {', '.join(sorted(_FIELDS))}"
            )
        conditions.append(_condition(text, _FIELDS[match["field"]], match["operator"], match["value"]))
        at = match.end()
    return conditions


def _condition(
    text: str, values: Callable[[Described], Sequence[str]], operator: str | None, raw: str | None
) -> _Condition:
    value = raw or ""
    if value.startswith('"'):
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    match operator:
        case "==":
            return lambda one: value in values(one)
        case "!=":
            return lambda one: value not in values(one)
        case "~=":
            try:
                pattern = re.compile(value)
            except re.error as error:
                raise WorkerError(f"bad filter {text!r}: {error}", help="correct the expression") from error
            return lambda one: any(pattern.search(item) for item in values(one))
        case _:
            return lambda one: any(values(one))
