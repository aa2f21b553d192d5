# SPDX-License-Identifier: Apache-2.0
"""Looking records up in several sources, in order.

The first source is the worker's own: it is asked about what is needed next, and answers at once. Further ones may be far
away. They are asked only about what the first does not have, and the first time about the whole graph, in one question; what
becomes known later (content, the records of inputs) is asked for together with whatever else becomes known at that time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from functools import partial

from llbkit.solver import keys
from llbkit.solver.ports import CacheSource, Link, Loaded
from llbkit.solver.schedule.flight import Flights

Candidate = tuple[int, str]
"""A record: the number of its source, and its id."""

Warn = Callable[[str], None]
"""Tells the user of a source that fails, beside the step for which it was asked."""


class Lookup:
    """The sources of one job. Only what the first one raises is raised."""

    def __init__(self, first: CacheSource, further: Sequence[CacheSource]) -> None:
        self._first = first
        self._further = [_Further(source) for source in further]

    @property
    def reaches_further(self) -> bool:
        """Whether there are further sources."""
        return bool(self._further)

    def expect(self, links: Callable[[], Iterable[Link]]) -> None:
        """Have further sources asked about all these, when they are next asked about anything."""
        for source in self._further:
            source.expected = links

    async def linked(self, links: Sequence[Link], warn: Warn, *, near: bool) -> set[Candidate]:
        """Return the records that have one of these links; ``near`` asks the first source only."""
        found = {(0, one) for ids in await self._first.query(links) for one in ids}
        for number, source in enumerate(() if near else self._further, 1):
            found |= {(number, one) for ids in await source.query(links, warn) for one in ids}
        return found

    async def find(
        self, links: Sequence[Link], warn: Warn, *, near: bool = False
    ) -> tuple[Loaded | None, int]:
        """Return the first record that is linked through one of these links for every input, and the number of its source.

        None comes with 0 if the first source had such a record, but not its results any more, else with -1. ``near`` asks
        the first source only.
        """
        lost = -1
        matches = keys.common(links, await self._first.query(links))
        if matches:
            loaded = await self._first.load(matches)
            if loaded is not None:
                return loaded, 0
            lost = 0
        for number, source in enumerate(() if near else self._further, 1):
            matches = keys.common(links, await source.query(links, warn))
            if matches and (loaded := await source.load(matches, warn)) is not None:
                return loaded, number
        return None, lost


class _Further:
    """A source as one job sees it: each question is asked once, in batches; from when it fails on, it has nothing."""

    def __init__(self, source: CacheSource) -> None:
        self._source = source
        self._answers: dict[Link, frozenset[str]] = {}
        self._gone: set[str] = set()
        self._batch: dict[Link, None] = {}
        self._flights: Flights[Callable[[], Awaitable[None]], None] = Flights()
        self._failed = False
        self.expected: Callable[[], Iterable[Link]] | None = None

    async def query(self, links: Sequence[Link], warn: Warn) -> Sequence[frozenset[str]]:
        unknown = [link for link in links if link not in self._answers]
        if unknown and not self._failed:
            batch = self._batch
            batch.update(dict.fromkeys(unknown))
            if self.expected is not None:
                batch.update(dict.fromkeys(self.expected()))
                self.expected = None
            await self._flights.run(id(batch), f"query {self._source.name}", partial(self._ask, batch, warn))
        return [self._answers.get(link, frozenset()) - self._gone for link in links]

    async def _ask(self, batch: dict[Link, None], warn: Warn) -> None:
        # A flight takes off in the next round of the loop: what else was ready has added its links.
        if self._batch is batch:
            self._batch = {}
        asked = [link for link in batch if link not in self._answers]
        try:
            answers = await self._source.query(asked)
            self._answers.update(zip(asked, answers, strict=True))
        except Exception as error:
            self._fail(error, warn)

    async def load(self, record_ids: Collection[str], warn: Warn) -> Loaded | None:
        if self._failed:
            return None
        try:
            loaded = await self._source.load(record_ids)
        except Exception as error:
            self._fail(error, warn)
            return None
        if loaded is None:
            self._gone |= set(record_ids)
        return loaded

    def _fail(self, error: Exception, warn: Warn) -> None:
        if not self._failed:
            self._failed = True
            self._answers.clear()
            warn(f"cache {self._source.name} is not used: {error or type(error).__name__}")
