# SPDX-License-Identifier: Apache-2.0
"""One execution, shared by every job that wants it: each sees its progress, whichever started it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, reduce

from llbkit.llb.ir.graph import Metadata, Vertex, merge_metadata
from llbkit.records import dataclass
from llbkit.solver import keys
from llbkit.solver.cache.source import StoreSource
from llbkit.solver.keys import KnownInput
from llbkit.solver.ports import CacheSource, CacheStore, Clock, Record, Result, Worker
from llbkit.solver.schedule.resources import Resources
from llbkit.solver.schedule.work import Work

REPLAYED = 1 << 18
"""Bytes of output that a job sees which joins later."""


@dataclass(frozen=True, slots=True)
class Executed:
    """The results of an execution, for those that wait for it to clone; ``record_id`` None if it cannot be remembered."""

    results: tuple[Result, ...]
    record_id: str | None

    def release(self) -> None:
        """Give the results up."""
        for result in self.results:
            result.release()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What jobs and executions need of the solver. ``home`` is where is looked first, and what is made is remembered."""

    worker: Worker
    home: StoreSource
    sources: Sequence[CacheSource]
    clock: Clock
    resources: Resources


class Execution:
    """The `llbkit.solver.ports.Step` of a running vertex, and the work itself when called.

    It runs as its first job brought it (operation, session, inputs); the others watch. ``record_id`` is None if the result
    must not be remembered.
    """

    def __init__(self, tools: Tools, work: Work, record_id: str | None) -> None:
        self._tools = tools
        self._first = work
        self._record_id = record_id
        self._lock = threading.Lock()
        self._watchers: list[Work] = []
        self._started = False
        self._output: deque[tuple[int, bytes]] = deque()
        self._output_size = 0
        self._statuses: dict[str, Callable[[Work], None]] = {}

    # -- llbkit.solver.ports.Step

    @property
    def vertex(self) -> Vertex:
        """The vertex being worked on."""
        return self._first.vertex

    @property
    def metadata(self) -> Metadata:
        """Its metadata, merged over all jobs that want it."""
        return reduce(merge_metadata, (work.metadata for work in self._watchers), self._first.metadata)

    @property
    def name(self) -> str:
        """What users see as the step's name."""
        return self._first.name

    def log(self, stream: int, data: bytes) -> None:
        """Report process output to every watcher. Callable from any thread."""
        with self._lock:
            self._output.append((stream, data))
            self._output_size += len(data)
            while self._output_size > REPLAYED and len(self._output) > 1:
                self._output_size -= len(self._output.popleft()[1])
            for work in self._watchers:
                work.log(stream, data)

    def status(self, id: str, name: str, current: int, total: int, *, done: bool = False) -> None:  # noqa: A002
        """Report sub-progress to every watcher. Callable from any thread."""
        with self._lock:
            self._statuses[id] = partial(
                Work.status, id=id, name=name, current=current, total=total, done=done
            )
            for work in self._watchers:
                work.status(id, name, current, total, done=done)

    # -- the work

    @contextmanager
    def watched_by(self, work: Work) -> Iterator[None]:
        """Let a job's vertex see what happens while the context lasts, and what it missed."""
        with self._lock:
            self._watchers.append(work)
            if self._started:
                work.show_started()
            for report in self._statuses.values():
                report(work)
            for stream, data in self._output:
                work.log(stream, data)
        try:
            yield
        finally:
            with self._lock:
                self._watchers.remove(work)

    async def __call__(self) -> Executed:
        """Wait for resources, execute, store. The first job may end before: the work has handles and a lease of its own."""
        work = self._first
        edges = zip(work.inputs, work.vertex.inputs, strict=True)
        values = [below.result(edge.index).clone() for below, edge in edges]
        try:
            with self._tools.worker.lease():
                return await self._execute(work, values)
        finally:
            for value in values:
                value.release()

    async def _execute(self, work: Work, values: Sequence[Result]) -> Executed:
        tools = self._tools
        async with tools.resources.hold(work.operation.resources, work.remaining):
            self._started = True
            for watcher in self._watchers:
                watcher.show_started()
            began = tools.clock.time()
            results = tuple(await work.operation.execute(values, self))
            now = tools.clock.time()
        try:
            return Executed(results, await self._remember(results, now, now - began))
        except BaseException:
            Executed(results, None).release()
            raise

    async def _remember(self, results: Sequence[Result], now: float, duration: float) -> str | None:
        if self._record_id is None:
            return None
        work, home = self._first, self._tools.home
        known = work.known(trusted=False)
        record_id = self._record_id
        if work.ignores_cache:
            record_id = keys.renewed_key(record_id, [result.id for result in results], now)
        record = Record(
            id=record_id,
            digest=work.cache_map.digest,
            name=work.name,
            ingredients=work.ingredients(),
            created_at=now,
            last_used_at=now,
            used=1,
            duration=duration,
        )
        if not await home.save(record, keys.links(work.cache_map, known), results):
            return None
        if work.ignores_cache:
            forget_others(home.store, work, known, keep=record_id)
        return record_id


def forget_others(store: CacheStore, work: Work, known: Sequence[KnownInput], *, keep: str) -> None:
    """Delete what a renewed vertex was found as until now: later builds must find only the new result."""
    if all(item.keys for item in known):
        links = keys.links(work.cache_map, known)
        older = keys.common(links, store.linked(links)) - {keep}
        if older:
            store.delete(sorted(older))
