# SPDX-License-Identifier: Apache-2.0
"""The key algebra: pure functions from a vertex's own digest and its inputs' keys to keys, record ids and links.

A *vertex key* identifies all outputs of a vertex; an *output key* is it with the output's index. A vertex's definition key
is made of its inputs' definition keys, so it exists only if nothing volatile lies below. A record's id is the vertex key
made of the first key of each input, which makes equal work equal on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from solver.ports import CacheMap, Link


@dataclass(frozen=True, slots=True)
class KnownInput:
    """What is known of one input: its keys, the preferred one first, and the selector it is used with."""

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
