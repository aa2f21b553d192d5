# SPDX-License-Identifier: Apache-2.0
"""The key algebra: pure functions from a vertex's own digest and its inputs' keys to keys, record ids and links.

A *vertex key* identifies all outputs of a vertex; an *output key* is it with the output's index. A vertex's definition key
is made of its inputs' definition keys, so it exists only if nothing volatile lies below. A record's id is the vertex key
made of the first key of each input, which makes equal work equal on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import Generic, TypeVar

from llbkit.records import dataclass
from llbkit.solver.ports import CacheMap, Link

R = TypeVar("R")
"""Names a record."""


@dataclass(frozen=True, slots=True)
class KnownInput:
    """What is known about one input: its keys, the preferred one first, and the selector it is used with."""

    selector: str
    keys: tuple[str, ...]


def vertex_key(cache_map: CacheMap, inputs: Sequence[KnownInput]) -> str | None:
    """Return the key made of the first key of each input; None if an input has none, or the vertex is volatile."""
    if cache_map.volatile or any(not known.keys for known in inputs):
        return None
    state = hashlib.sha256(cache_map.digest.encode())
    for known in inputs:
        state.update(f"\0{known.selector}\0{known.keys[0]}".encode())
    return state.hexdigest()


def renewed_key(key: str, result_ids: Sequence[str], now: float) -> str:
    """Return the id of a record made by executing again what had a record with id ``key``.

    It must be another one: users of the earlier result are linked to its id.
    """
    return hashlib.sha256("\0".join((key, repr(now), *result_ids)).encode()).hexdigest()


def output_key(key: str, index: int) -> str:
    """Return the key of one output of the vertex, or record, with ``key``."""
    return f"{key}:{index}"


def content_key(digest: str) -> str:
    """Return the key that stands for content, which no vertex key can equal."""
    return f"content:{digest}"


def links(cache_map: CacheMap, inputs: Sequence[KnownInput]) -> tuple[Link, ...]:
    """Return every way to find a record: each known key of each input."""
    if not inputs:
        return (Link(cache_map.digest, -1, "", ""),)
    return tuple(
        Link(cache_map.digest, index, known.selector, key)
        for index, known in enumerate(inputs)
        for key in known.keys
    )


def common(links: Sequence[Link], answers: Sequence[Collection[str]]) -> frozenset[str]:
    """Return the ids of the records that have one of the links of every input; ``answers`` says which have each link."""
    linked: dict[int, set[str]] = {}
    for link, ids in zip(links, answers, strict=True):
        linked.setdefault(link.index, set()).update(ids)
    return _common([frozenset(ids) for ids in linked.values()])


class Candidates(Generic[R]):
    """Which records a vertex can still match, while its inputs become known one after the other.

    Of each input it holds the ids of the records linked to it by a known key, and whether further keys may come. A record
    that is linked to *every* input is a match. As soon as no record is linked to all inputs that are done with, the
    search is exhausted, however the others turn out: the vertex has to be executed, and all its inputs are needed.
    """

    def __init__(self, count: int) -> None:
        self._linked: list[frozenset[R]] = [frozenset()] * count
        self._final = [False] * count

    def learn(self, index: int, records: Collection[R], *, final: bool) -> None:
        """Note that input ``index`` is linked to records; ``final`` if no further key of it can come."""
        self._linked[index] |= frozenset(records)
        self._final[index] |= final

    def forget(self, records: Collection[R]) -> None:
        """Leave out records that turned out to be of no use."""
        self._linked = [linked.difference(records) for linked in self._linked]

    @property
    def matches(self) -> frozenset[R]:
        """The records linked to every input."""
        return _common(self._linked) or frozenset()

    @property
    def exhausted(self) -> bool:
        """Whether no record can become a match any more."""
        done = [linked for linked, final in zip(self._linked, self._final, strict=True) if final]
        return bool(done) and not _common(done)

    def may_match_as_known(self, index: int) -> bool:
        """Whether the keys that input ``index`` already has may suffice, once the others are known."""
        done = [linked for linked, final in zip(self._linked, self._final, strict=True) if final]
        return bool(_common([self._linked[index], *done]))


def _common(sets: Sequence[frozenset[R]]) -> frozenset[R]:
    if not sets:
        return frozenset()
    smallest = min(sets, key=len)
    return smallest.intersection(*sets) if smallest else smallest
