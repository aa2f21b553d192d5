# SPDX-License-Identifier: Apache-2.0
"""A cache source made of a store of records and of somebody who can make results of their tokens."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Protocol

from llbkit.solver.ports import CacheStore, Link, Loaded, Record, Result


class Tokens(Protocol):
    """What is used of a `llbkit.solver.ports.Worker`."""

    def save(self, result: Result, /) -> str | None:
        """Return a token from which `load` can find the result in any later process; None if there is none."""

    def load(self, token: str, /) -> Result | None:
        """Return the result of a token, None if it is gone."""


class StoreSource:
    """A `llbkit.solver.ports.CacheSource` of a store. Its methods never wait, so nothing else happens meanwhile.

    A record one of whose results is gone is forgotten when that is noticed.
    """

    def __init__(self, store: CacheStore, tokens: Tokens, name: str = "local") -> None:
        self.name = name
        self.store = store
        self._tokens = tokens

    async def query(self, links: Sequence[Link]) -> Sequence[frozenset[str]]:
        """Return for each link the ids of the records that have it."""
        return self.store.linked(links)

    async def load(self, record_ids: Collection[str]) -> Loaded | None:
        """Return the newest of these records whose results are all there, with these."""
        for record in self.store.select(record_ids):
            loaded = self._load(record)
            if loaded is not None:
                return loaded
            self.store.delete([record.id])
        return None

    def _load(self, record: Record) -> Loaded | None:
        results: list[Result] = []
        for token in record.tokens:
            result = self._tokens.load(token)
            if result is None:
                Loaded(record, tuple(results)).release()
                return None
            results.append(result)
        return Loaded(record, tuple(results))

    async def save(self, record: Record, links: Sequence[Link], results: Sequence[Result]) -> bool:
        """Store a record of these results in place of one of the same id, unless one of them has no token."""
        tokens = [self._tokens.save(result) for result in results]
        saved = tuple(token for token in tokens if token is not None)
        if len(saved) == len(tokens):
            self.store.store(replace(record, tokens=saved), links)
        return len(saved) == len(tokens)
