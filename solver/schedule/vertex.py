# SPDX-License-Identifier: Apache-2.0
"""The coroutine of one vertex, in the order of the algorithm in docs/solver.md.

keys → look up → inputs → content keys → look up → execute → store.

Each vertex that is worked on has one coroutine, shared by all users of the vertex in the job. It passes two milestones:
it is *looked up* once it is known whether the store has it, and goes on only if somebody *wants* its results. So a user can
learn what an input is without having it made. docs/solver.md tells why it is done so.

Looking up in the first source is a query of well under a millisecond and is done on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from llbkit.solver import keys
from llbkit.solver.errors import VertexError
from llbkit.solver.keys import Candidates
from llbkit.solver.ports import CacheSource, Link, Loaded
from llbkit.solver.schedule.execution import Executed, Execution, Tools, forget_others
from llbkit.solver.schedule.flight import Flight, Flights, together
from llbkit.solver.schedule.lookup import Candidate, Lookup
from llbkit.solver.schedule.work import CANCELED, Work

Executions = Flights[Execution, Executed]
_Run = Callable[[], Awaitable[None]]


class _Found(Exception):  # noqa: N818
    """The vertex was found: what its inputs were followed for is not needed any more. Never leaves this module."""


class VertexSolver:
    """Solves the vertices of one job.

    ``executions`` is shared by all jobs. ``further`` are the sources that are asked after the solver's own. ``used`` collects the ids of the records that were used.
    """

    def __init__(
        self, tools: Tools, executions: Executions, session: object, further: Sequence[CacheSource]
    ) -> None:
        self._tools = tools
        self._lookup = Lookup(tools.home, further)
        self._executions = executions
        self._session = session
        self._runs: Flights[_Run, None] = Flights()
        self._asking: Flights[_Run, None] = Flights()
        self.used: dict[str, None] = {}

    async def ask_own_key(self, work: Work) -> None:
        """Ask the operation for the vertex's own key, once.

        Raises:
            VertexError: there is none.
        """
        if work.error is not None:
            raise work.error.with_traceback(None)
        if work.own is None:
            await self._asking.run(work.vertex.digest, f"key of {work.name}", lambda: self._ask(work))

    async def solve(self, work: Work) -> None:
        """Make or find the results of a vertex.

        Raises:
            VertexError: it or one below it failed; also if that was earlier in the same job.
        """
        async with self._join(work) as flight:
            await _demand(work, flight)

    def expect(self, works: Sequence[Work]) -> None:
        """Have further sources, once they are asked, asked about all that is known of these vertices then."""

        def links() -> Iterator[Link]:
            for work in works:
                yield from (_links(work) if work.results is None else None) or ()

        self._lookup.expect(links)

    async def look_up(self, work: Work, *, near: bool = False) -> bool:
        """Look for a record under every trusted key; on a hit, load it and teach the store the other keys.

        ``near`` looks in the first source only. There, looking up never waits.
        """
        if work.results is not None:
            return True
        links = _links(work)
        if links is None:
            return False
        loaded, source = await self._lookup.find(links, work.events.warned, near=near)
        if loaded is None:
            work.lost |= source == 0
            return False
        await self._take(work, loaded, source)
        return True

    async def _take(self, work: Work, loaded: Loaded, source: int) -> None:
        """Make what was found the results of the vertex, and remember it as what is known of the vertex now."""
        if work.results is not None:  # another input led to it meanwhile
            loaded.release()
            return
        record, store = loaded.record, self._tools.home.store
        work.results, work.record_id, work.found = loaded.results, record.id, True
        work.show_cached()
        work.looked_up.set()
        everything = work.known(trusted=False)
        links = keys.links(work.cache_map, everything)
        if source == 0:
            store.link(record.id, links)
            self.used[record.id] = None
        else:
            now = self._tools.clock.time()
            new = replace(record, tokens=(), last_used_at=now, used=1)
            await self._tools.home.save(new, links, loaded.results)
        if work.ignores_cache:
            forget_others(store, work, everything, keep=record.id)

    # -- the coroutine of one vertex

    async def _run(self, work: Work) -> None:
        self._tools.resources.stir()
        try:
            if not await self.look_up(work):
                await self._follow_inputs(work)
            if not await self.look_up(work):
                await self._execute(work)
        except asyncio.CancelledError:
            work.reset()
            raise
        except Exception as error:
            work.error = error if isinstance(error, VertexError) else work.fail(error)
            work.looked_up.set()
            raise work.error from work.error.cause
        work.looked_up.set()

    async def _follow_inputs(self, work: Work) -> None:
        """Return once the vertex is found, or once it is wanted and all its inputs are solved and looked at."""
        search = _Search(work)
        try:
            await together(*(self._follow(work, number, search) for number in range(len(work.inputs))))
        except _Found:
            return
        await work.wanted.wait()

    async def _follow(self, work: Work, number: int, search: _Search) -> None:
        """Follow one input: learn what it is; if only its content can tell, have it made and look; at last have it made."""
        below = work.inputs[number]
        by_content = work.cache_map.inputs[number].content
        async with self._join(below) as flight:  # the seat keeps alive what the input has begun
            await below.looked_up.wait()
            self._tools.resources.stir()
            if below.error is not None:
                raise below.error.with_traceback(None)
            await self._narrow(work, number, search, final=not by_content)
            search.note_identified()
            if by_content and not work.looked_up.is_set():
                if search.candidates.may_match_as_known(number):
                    await search.all_identified.wait()
                if not work.looked_up.is_set():
                    await _demand(below, flight)
                    await self._look_at_content(work, number)
                    await self._narrow(work, number, search, final=True)
            await work.looked_up.wait()
            await work.wanted.wait()
            await _demand(below, flight)
            self._tools.resources.stir()
            await self._look_at_content(work, number)

    async def _narrow(self, work: Work, number: int, search: _Search, *, final: bool) -> None:
        """Take in what is newly known about one input, and end the lookup if that decides it.

        Raises:
            _Found: the vertex is found.
        """
        if work.looked_up.is_set():
            return
        await self._learn(work, number, search, final=final)
        await self._widen(work, search)
        while matches := search.candidates.matches:
            if await self.look_up(work, near=not search.far):
                raise _Found
            search.candidates.forget(matches)
            await self._widen(work, search)
        if search.candidates.exhausted:
            search.give_up()

    async def _widen(self, work: Work, search: _Search) -> None:
        """Go on in further sources once the first has nothing; whoever comes meanwhile waits for their answers."""
        if not search.far and self._lookup.reaches_further and search.candidates.exhausted:
            search.far = True
            inputs = range(len(work.inputs))
            await together(*(self._learn(work, number, search, final=False) for number in inputs))
            search.widened.set()
        elif search.far:
            await search.widened.wait()

    async def _learn(self, work: Work, number: int, search: _Search, *, final: bool) -> None:
        item = work.known_input(number, trusted=True)
        links = [Link(work.cache_map.digest, number, item.selector, key) for key in item.keys]
        linked = await self._lookup.linked(links, work.events.warned, near=not search.far)
        search.candidates.learn(number, linked, final=final)

    async def _look_at_content(self, work: Work, number: int) -> None:
        if work.cache_map.inputs[number].content and number not in work.contents:
            value = work.inputs[number].result(work.vertex.inputs[number].index)
            work.contents[number] = await work.operation.content_key(number, value, work)

    async def _execute(self, work: Work) -> None:
        known = work.known(trusted=False)
        record_id = keys.vertex_key(work.cache_map, known)
        mine = Execution(self._tools, work, record_id)
        # What has no key cannot be shared, nor can what its user wants to be made again.
        shared = record_id is not None and not work.ignores_cache
        key = record_id if shared else (id(self), work.vertex.digest)
        try:
            async with self._executions.join(key, work.name, mine) as flight:
                with flight.work.watched_by(work):
                    done = await flight.landing()
                    work.results = [result.clone() for result in done.results]
                    work.record_id = done.record_id
                    self._tools.resources.stir()
        except asyncio.CancelledError:
            work.show_completed(error=CANCELED)
            raise
        if flight.work is not mine and done.record_id is not None:
            self._tools.home.store.link(done.record_id, keys.links(work.cache_map, known))
        work.show_completed()

    # -- parts

    async def _ask(self, work: Work) -> None:
        if work.own is None:
            try:
                work.made = self._tools.worker.operation(work.vertex, work.metadata, self._session)
                work.own = await work.made.cache_map(work)
            except Exception as error:
                work.error = work.fail(error)
                raise work.error from error

    @asynccontextmanager
    async def _join(self, work: Work) -> AsyncIterator[Flight[_Run, None] | None]:
        """Hold a seat in the vertex's run, and start it if need be; there is none if it is solved already."""
        if work.error is not None:
            raise work.error.with_traceback(None)
        if work.results is not None:
            yield None
            return
        async with self._runs.join(work.vertex.digest, work.name, lambda: self._run(work)) as flight:
            yield flight


class _Search:
    """The search for a vertex's record while its inputs are followed, in further sources once it is ``far``."""

    def __init__(self, work: Work) -> None:
        self.candidates: Candidates[Candidate] = Candidates(len(work.inputs))
        self.all_identified = asyncio.Event()
        self.far = False
        self.widened = asyncio.Event()
        self._unidentified = len(work.inputs)
        self._looked_up = work.looked_up
        if not work.lookable or not work.inputs:
            self.give_up()

    def note_identified(self) -> None:
        """Note that of one more input everything is known but its content."""
        self._unidentified -= 1
        if self._unidentified == 0:
            self.all_identified.set()

    def give_up(self) -> None:
        """Mark the vertex as not found, so that no waiter is left behind on its lookup."""
        self._looked_up.set()
        self.all_identified.set()


def _links(work: Work) -> tuple[Link, ...] | None:
    """Return every way to find a vertex by what is known of it and trusted; None if it cannot be found yet, or must not be."""
    if not work.lookable:
        return None
    known = work.known(trusted=True)
    return keys.links(work.cache_map, known) if all(item.keys for item in known) else None


async def _demand(work: Work, flight: Flight[_Run, None] | None) -> None:
    work.wanted.set()
    if flight is not None:
        await flight.landing()
