# SPDX-License-Identifier: Apache-2.0
"""A job, and the coroutine of one vertex, written the way the algorithm is told.

keys → look up → inputs → look up → content keys → look up → execute → store.

A vertex's own key needs none of its inputs, so all own keys are asked for at once, and definition keys follow by
arithmetic. From the wanted edge down, a vertex is first looked for under definition keys (a hit ends it: nothing below is
touched); then its inputs are *identified*, which may find records for them and so further keys; then inputs that can be
identified by content are solved and looked at. Only then it is executed.

Looking up is a query of well under a millisecond and is done on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

from llb.graph import Edge, Graph, Metadata, Vertex, merge_metadata
from llb.walk import postorder
from solver import keys
from solver.errors import VertexError
from solver.events import Progress, VertexAdded, VertexCompleted, VertexLog, VertexStarted, VertexStatus
from solver.flight import Flights, together
from solver.keys import KnownInput
from solver.names import name_of
from solver.ports import CacheMap, ContentKey, Json, Operation, Record, Result

if TYPE_CHECKING:
    from grammar import Span
    from solver.solver import Solver

CANCELED = "context canceled"


@dataclass(slots=True, eq=False)
class _Work:
    """What a job knows of one vertex; also the `solver.ports.Step` that its operation sees."""

    job: Job
    vertex: Vertex
    metadata: Metadata
    spans: tuple[Span, ...]
    operation: Operation
    inputs: tuple[_Work, ...]
    cache_map: CacheMap | None = None
    definition_key: str | None = None
    record: Record | None = None
    contents: dict[int, ContentKey | None] = field(default_factory=dict)
    identified: bool = False
    results: Sequence[Result] | None = None
    running: bool = False
    shown: bool = False
    remaining: float = 0.0

    @property
    def name(self) -> str:
        """What users see as the step's name."""
        return name_of(self.vertex, self.metadata)

    def log(self, stream: int, data: bytes) -> None:
        """Report process output."""
        now = self.job.solver.clock.time()
        self.job.emit(VertexLog(digest=self.vertex.digest, stream=stream, data=data, time=now))

    def status(self, id: str, name: str, current: int, total: int, *, done: bool = False) -> None:  # noqa: A002
        """Report sub-progress."""
        now = self.job.solver.clock.time()
        began = self.job.status_began.setdefault((self.vertex.digest, id), now)
        self.job.emit(
            VertexStatus(
                id=id,
                digest=self.vertex.digest,
                name=name,
                current=current,
                total=total,
                time=now,
                started=began,
                completed=now if done else None,
            )
        )

    def output_keys(self, index: int) -> tuple[str, ...]:
        """Return the known keys of one output, the definition key first."""
        found = []
        if self.definition_key is not None:
            found.append(keys.output_key(self.definition_key, index))
        if self.record is not None and self.record.id != self.definition_key:
            found.append(keys.output_key(self.record.id, index))
        return tuple(found)


class Job:
    """One client's solves. Vertices with equal digests are one; `solve` may be called again and concurrently."""

    def __init__(self, solver: Solver, session: object, progress: Progress) -> None:
        self.solver = solver
        self.session = session
        self.emit = progress
        self.status_began: dict[tuple[str, str], float] = {}
        self._works: dict[str, _Work] = {}
        self._flights: Flights[None] = Flights()
        self._touched: dict[str, None] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._touched:
            self.solver.store.touch(tuple(self._touched), self.solver.clock.time())
            self._touched.clear()

    async def solve(self, graph: Graph) -> Result | None:
        """Return the result of the graph's head; None for scratch.

        Raises:
            VertexError: a vertex failed. Everything else that only this solve wants is cancelled.
        """
        if graph.head is None:
            return None
        works = self._take(graph, graph.head)
        await self._prepare(works)
        head = self._works[graph.head.vertex.digest]
        await self._solve(head)
        assert head.results is not None, "a solved vertex has results"
        return head.results[graph.head.index]

    # -- taking a graph in

    def _take(self, graph: Graph, head: Edge) -> list[_Work]:
        """Make the work of every reachable vertex that is new to the job; return all of them, inputs first."""
        order = postorder([head.vertex], lambda vertex: [edge.vertex for edge in vertex.inputs])
        for vertex in order:
            metadata = graph.metadata_of(vertex.digest)
            known = self._works.get(vertex.digest)
            if known is not None:
                known.metadata = merge_metadata(known.metadata, metadata)
                continue
            work = _Work(
                job=self,
                vertex=vertex,
                metadata=metadata,
                spans=graph.spans_of(vertex.digest),
                operation=self.solver.worker.operation(vertex, metadata, self.session),
                inputs=tuple(self._works[edge.vertex.digest] for edge in vertex.inputs),
            )
            self._works[vertex.digest] = work
            inputs = tuple(edge.vertex.digest for edge in vertex.inputs)
            group = metadata.progress_group.id if metadata.progress_group else ""
            self.emit(VertexAdded(digest=vertex.digest, name=work.name, inputs=inputs, group=group))
        return [self._works[vertex.digest] for vertex in order]

    async def _prepare(self, works: Sequence[_Work]) -> None:
        """Ask for all own keys at once, then derive definition keys and remaining path lengths."""
        fresh = [work for work in works if work.cache_map is None]
        if fresh:
            await together(*(self._ask_own_key(work) for work in fresh))
        for work in works:
            if work.definition_key is None:
                known = self._known(work, [edge.index for edge in work.vertex.inputs], definition_only=True)
                work.definition_key = keys.vertex_key(_map(work), known)
        durations = self.solver.store.durations([_map(work).digest for work in fresh])
        for work in reversed(works):
            own = work.remaining + durations.get(_map(work).digest, 1.0)
            for below in work.inputs:
                below.remaining = max(below.remaining, own)

    async def _ask_own_key(self, work: _Work) -> None:
        try:
            work.cache_map = await work.operation.cache_map(work)
        except Exception as error:
            self._failed(work, error)

    # -- one vertex

    async def _solve(self, work: _Work) -> None:
        if work.results is None:
            await self._flights.run(("solve", work.vertex.digest), work.name, lambda: self._solve_once(work))

    async def _solve_once(self, work: _Work) -> None:
        await self._identify(work)
        if work.results is not None:
            return
        await together(*(self._solve(below) for below in work.inputs)) if work.inputs else None
        await self._look_at_contents(work)
        if work.record is None and self._find(work):
            return
        await self._execute(work)

    async def _identify(self, work: _Work) -> None:
        """Find a record for the vertex without executing it; inputs may be executed for the sake of their content."""
        if not work.identified:
            await self._flights.run(
                ("identify", work.vertex.digest), work.name, lambda: self._identify_once(work)
            )

    async def _identify_once(self, work: _Work) -> None:
        if work.metadata.ignore_cache or _map(work).volatile:
            work.identified = True
            return
        if not self._find(work) and work.inputs:
            await together(*(self._identify_or_solve(below) for below in work.inputs))
            if not self._find(work) and any(item.content for item in _map(work).inputs):
                wanted = [b for b, item in zip(work.inputs, _map(work).inputs, strict=True) if item.content]
                await together(*(self._solve(below) for below in wanted))
                await self._look_at_contents(work)
                self._find(work)
        work.identified = True

    async def _identify_or_solve(self, below: _Work) -> None:
        """Identify an input; solve it at once if it has no record, whatever happens to the other inputs.

        Without a record its user can be found by its content only, or has to be executed: it is needed in either case, and
        waiting for the other inputs first would run in sequence what can run side by side.
        """
        await self._identify(below)
        if below.record is None:
            await self._solve(below)

    async def _look_at_contents(self, work: _Work) -> None:
        for index, item in enumerate(_map(work).inputs):
            if not item.content or index in work.contents:
                continue
            results = work.inputs[index].results
            assert results is not None, "an input is solved before it is looked at"
            value = results[work.vertex.inputs[index].index]
            try:
                work.contents[index] = await work.operation.content_key(index, value, work)
            except Exception as error:
                self._failed(work, error)

    def _find(self, work: _Work) -> bool:
        """Look for a record under every key known by now; on a hit, load it and teach the store the other keys."""
        if work.metadata.ignore_cache or _map(work).volatile:
            return False
        known = self._known(work, [edge.index for edge in work.vertex.inputs])
        if any(not item.keys for item in known):
            return False
        store = self.solver.store
        wanted = [(item.selector, frozenset(item.keys)) for item in known]
        for record in store.find(_map(work).digest, wanted):
            results = [self.solver.worker.load(token) for token in record.tokens]
            if any(result is None for result in results):
                store.delete([record.id])
                continue
            work.record, work.results = record, results
            store.link(record.id, keys.links(_map(work), known))
            self._touched[record.id] = None
            self._show_cached(work)
            return True
        return False

    def _known(
        self, work: _Work, indexes: Sequence[int], *, definition_only: bool = False
    ) -> list[KnownInput]:
        out = []
        for number, (below, item, index) in enumerate(
            zip(work.inputs, _map(work).inputs, indexes, strict=True)
        ):
            found = below.output_keys(index)
            if definition_only:
                found = (keys.output_key(below.definition_key, index),) if below.definition_key else ()
            elif (content := work.contents.get(number)) is not None:
                found = (*found, keys.content_key(content.digest))
            out.append(KnownInput(item.selector, found))
        return out

    async def _execute(self, work: _Work) -> None:
        known = self._known(work, [edge.index for edge in work.vertex.inputs])
        record_id = keys.vertex_key(_map(work), known)
        # Work without a key cannot be shared, nor can work whose user wants it to run again.
        shared = record_id is not None and not work.metadata.ignore_cache
        flight = record_id if shared else (id(self), work.vertex.digest)
        self._show_started(work)
        try:
            work.results = await self.solver.executions.run(
                flight, work.name, lambda: self._execute_once(work, known, record_id)
            )
        except asyncio.CancelledError:
            self._show_completed(work, error=CANCELED)
            raise
        except Exception as error:
            self._failed(work, error)
        self._show_completed(work)
        if work.record is None and record_id is not None:
            found = self.solver.store.find(
                _map(work).digest, [(k.selector, frozenset(k.keys)) for k in known]
            )
            work.record = next((record for record in found if record.id == record_id), None)

    async def _execute_once(
        self, work: _Work, known: Sequence[KnownInput], record_id: str | None
    ) -> Sequence[Result]:
        values: list[Result] = []
        for below, edge in zip(work.inputs, work.vertex.inputs, strict=True):
            assert below.results is not None, "inputs are solved before their user is executed"
            values.append(below.results[edge.index])
        clock = self.solver.clock
        async with self.solver.resources.hold(work.operation.resources, work.remaining):
            began = clock.time()
            results = tuple(await work.operation.execute(values, work))
            now = clock.time()
        tokens = tuple(self.solver.worker.save(result) for result in results)
        if record_id is not None and all(token is not None for token in tokens):
            record = Record(
                id=record_id,
                digest=_map(work).digest,
                tokens=tuple(token for token in tokens if token is not None),
                name=work.name,
                ingredients=_ingredients(work, known),
                created_at=now,
                last_used_at=now,
                used=1,
                duration=now - began,
            )
            self.solver.store.store(record, keys.links(_map(work), known))
        return results

    # -- telling

    def _failed(self, work: _Work, error: Exception) -> None:
        if isinstance(error, VertexError):
            raise error
        self._show_started(work)
        self._show_completed(work, error=str(error) or type(error).__name__)
        raise VertexError(work.vertex.digest, work.name, work.spans, error) from error

    def _show_started(self, work: _Work) -> None:
        if not work.running:
            work.running = work.shown = True
            self.emit(VertexStarted(digest=work.vertex.digest, time=self.solver.clock.time()))

    def _show_completed(self, work: _Work, *, error: str = "") -> None:
        if work.running:
            work.running = False
            self.emit(VertexCompleted(digest=work.vertex.digest, time=self.solver.clock.time(), error=error))

    def _show_cached(self, work: _Work) -> None:
        """Show a hit, and everything below it that therefore never has to start, as cached."""
        now = self.solver.clock.time()
        reached: Iterable[_Work] = postorder([work], lambda item: [b for b in item.inputs if not b.shown])
        for item in reached:
            if not item.shown:
                item.shown = True
                self.emit(VertexStarted(digest=item.vertex.digest, time=now))
                self.emit(VertexCompleted(digest=item.vertex.digest, time=now, cached=True))


def _map(work: _Work) -> CacheMap:
    assert work.cache_map is not None, "own keys are asked for before anything else"
    return work.cache_map


def _ingredients(work: _Work, known: Sequence[KnownInput]) -> Mapping[str, Json]:
    """Return what a later miss is compared with: the op's own ingredients, and each input's keys and content."""
    inputs: list[Json] = []
    for index, item in enumerate(known):
        entry: dict[str, Json] = {
            "name": work.inputs[index].name,
            "selector": item.selector,
            "keys": item.keys,
        }
        if (content := work.contents.get(index)) is not None:
            entry |= {"content": content.digest, "parts": content.ingredients}
        inputs.append(entry)
    return {"op": _map(work).ingredients, "inputs": inputs}
