# SPDX-License-Identifier: Apache-2.0
"""A worker that computes integers, for testing the solver: delays, failures and content are declared, calls are counted.

Vertices are ordinary LLB: a source ``int://NAME?value=5`` gives a number, an exec ``sum`` (args: ``sum``, ...) adds its
inputs. What `FakeWorker` is told about a name decides the rest.
"""

from __future__ import annotations

import hashlib
import heapq
from asyncio import Future, get_running_loop
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field

from llb import ops
from llb.graph import Edge, Metadata, Vertex
from solver.ports import CacheMap, ContentKey, InputKey, Operation, Result, Step


class VirtualClock:
    """Time that passes only when everybody waits: `advance` moves to the next wake-up."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._sleepers: list[tuple[float, int, Future[None]]] = []
        self._count = 0

    def time(self) -> float:
        """Seconds since an arbitrary start."""
        return self._now

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Wait until the clock was advanced so far; not at all for zero."""
        future: Future[None] = get_running_loop().create_future()
        if seconds <= 0:
            future.set_result(None)
        else:
            self._count += 1
            heapq.heappush(self._sleepers, (self._now + seconds, self._count, future))
        return future

    def advance(self) -> bool:
        """Wake the next sleeper; False if there is none."""
        while self._sleepers:
            when, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                self._now = max(self._now, when)
                future.set_result(None)
                return True
        return False


def number(name: str, value: int, *, variant: str = "") -> Vertex:
    """Return a source vertex with a value. Equal names and values are equal vertices."""
    return Vertex.make(ops.Source(identifier=f"int://{name}?value={value}&{variant}"))


def total(name: str, *inputs: Vertex, content: Sequence[int] = (), salt: str = "") -> Vertex:
    """Return a vertex that adds its inputs; those numbered in ``content`` may also be identified by content."""
    mounts = tuple(
        ops.Mount(dest="/" if i == 0 else f"/{i}", input=i, output=0 if i == 0 else -1, readonly=i in content)
        for i in range(max(1, len(inputs)))
    )
    meta = ops.Meta(args=("sum", name, salt))
    return Vertex.make(ops.Exec(meta=meta, mounts=mounts), tuple(Edge(vertex) for vertex in inputs))


@dataclass
class FakeWorker:
    """Declared behaviour by vertex name: ``delays`` in seconds, ``failures``, ``volatile`` sources, ``needs``.

    ``lost`` holds tokens that no longer load. ``calls`` counts executions by name, ``looks`` content keys, ``keys`` own
    keys.
    """

    clock: VirtualClock = field(default_factory=VirtualClock)
    delays: Mapping[str, float] = field(default_factory=dict)
    failures: frozenset[str] = frozenset()
    volatile: frozenset[str] = frozenset()
    needs: Mapping[str, int] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)
    looks: Counter[str] = field(default_factory=Counter)
    keys: Counter[str] = field(default_factory=Counter)
    running: int = 0
    most_running: int = 0

    def operation(self, vertex: Vertex, metadata: Metadata, session: object) -> Operation:
        """Return the operation of a vertex."""
        return _FakeOperation(self, vertex)

    def save(self, result: Result) -> str | None:
        """Return the number as text."""
        return str(result)

    def load(self, token: str) -> Result | None:
        """Return the number of a token that is not lost."""
        return None if token in self.lost else int(token)


class _FakeOperation:
    def __init__(self, worker: FakeWorker, vertex: Vertex) -> None:
        self._worker = worker
        self._vertex = vertex
        match vertex.op:
            case ops.Source(identifier=identifier):
                self._name = identifier.removeprefix("int://").partition("?")[0]
            case ops.Exec(meta=meta):
                self._name = meta.args[1]
            case _:
                raise AssertionError("the fake worker knows sources and execs")

    @property
    def resources(self) -> Mapping[str, int]:
        return self._worker.needs

    async def cache_map(self, step: Step) -> CacheMap:
        self._worker.keys[self._name] += 1
        inputs: tuple[InputKey, ...] = ()
        if isinstance(self._vertex.op, ops.Exec):
            mounts = self._vertex.op.mounts
            inputs = tuple(InputKey(content=mounts[i].readonly) for i in range(len(self._vertex.inputs)))
        own = hashlib.sha256(repr(self._vertex.op).encode()).hexdigest()
        return CacheMap(
            digest=own,
            inputs=inputs,
            ingredients={"name": self._name},
            volatile=self._name in self._worker.volatile,
        )

    async def content_key(self, index: int, value: Result, step: Step) -> ContentKey | None:
        self._worker.looks[self._name] += 1
        return ContentKey(digest=f"value-{value}")

    async def execute(self, inputs: Sequence[Result], step: Step) -> Sequence[Result]:
        worker = self._worker
        worker.calls[self._name] += 1
        worker.running += 1
        worker.most_running = max(worker.most_running, worker.running)
        try:
            await worker.clock.sleep(worker.delays.get(self._name, 0.0))
        finally:
            worker.running -= 1
        if self._name in worker.failures:
            raise ArithmeticError(f"{self._name} does not add up")
        if isinstance(self._vertex.op, ops.Source):
            return (int(self._vertex.op.identifier.partition("value=")[2].partition("&")[0]),)
        return (sum(value for value in inputs if isinstance(value, int)),)
