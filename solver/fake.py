# SPDX-License-Identifier: Apache-2.0
"""A worker that computes integers, for testing the solver: delays, failures and content are declared, calls are counted.

Vertices are ordinary LLB: a source ``int://NAME?value=5`` gives a number, an exec ``sum`` adds its inputs. What `FakeWorker`
is told about a name decides the rest. `run` runs a coroutine in virtual time: nothing ever waits for real, and if everybody
waits for each other it says so instead of hanging.
"""

from __future__ import annotations

import asyncio
import hashlib
import selectors
from collections import Counter
from collections.abc import Awaitable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from typing import Any, TypeVar

from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Edge, Metadata, Vertex
from llbkit.records import dataclass
from llbkit.solver.ports import CacheMap, ContentKey, InputKey, Operation, Result, Step

T = TypeVar("T")


class VirtualClock:
    """A `llbkit.solver.ports.Clock` that moves only when everybody waits; see `run`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        """Seconds since an arbitrary start."""
        return self.now

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Wait until the clock has moved so far."""
        return asyncio.sleep(seconds)


class Deadlock(Exception):  # noqa: N818
    """Every task waits, and no timer is set."""


def run(clock: VirtualClock, work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on an event loop whose time is ``clock``'s.

    Raises:
        Deadlock: nothing can ever happen any more.
    """
    with asyncio.Runner(loop_factory=lambda: _VirtualLoop(clock)) as runner:
        return runner.run(work)


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(_JumpingSelector(clock))
        self._virtual = clock

    def time(self) -> float:
        return self._virtual.now


class _JumpingSelector(selectors.SelectSelector):
    """Instead of waiting, moves the clock to where the wait would end."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise Deadlock("deadlock: every task waits for another")
        self._clock.now += max(0.0, timeout)
        return []


def number(name: str, value: int, *, variant: str = "") -> Vertex:
    """Return a source vertex with a value. Equal names and values are equal vertices."""
    return Vertex.make(ops.Source(identifier=f"int://{name}?value={value}&{variant}"))


def total(
    name: str, *inputs: Vertex | Edge, content: Collection[int] = (), salt: str = "", outputs: int = 1
) -> Vertex:
    """Return a vertex that adds its inputs; those numbered in ``content`` may also be identified by content.

    Output ``k`` is the sum plus ``k``. ``salt`` makes another vertex of the same name.
    """
    edges = tuple(item if isinstance(item, Edge) else Edge(item) for item in inputs)
    mounts = tuple(
        ops.Mount(
            dest=f"/{i}" if i else "/",
            input=i if i < len(edges) else -1,
            output=i if i < outputs else -1,
            readonly=i in content,
        )
        for i in range(max(1, len(edges), outputs))
    )
    return Vertex.make(ops.Exec(meta=ops.Meta(args=("sum", name, salt)), mounts=mounts), edges)


def name_in(vertex: Vertex) -> str:
    """Return the name that `number` or `total` was given."""
    match vertex.op:
        case ops.Source(identifier=identifier):
            return identifier.removeprefix("int://").partition("?")[0]
        case ops.Exec(meta=meta):
            return meta.args[1]
        case _:
            raise AssertionError("the fake worker only supports sources and execs")


def value_of(vertex: Vertex, inputs: Sequence[int], output: int = 0) -> int:
    """Return what an output is, given the numbers of the inputs."""
    if isinstance(vertex.op, ops.Source):
        return int(vertex.op.identifier.partition("value=")[2].partition("&")[0])
    return sum(inputs) + output


@dataclass
class FakeWorker:
    """Behaviour by vertex name.

    ``delays``, ``key_delays`` and ``look_delays`` are seconds that executing, the own key and content keys take;
    ``failures`` names what fails when executed, ``key_failures`` what has no own key; ``volatile`` sources have no usable
    key; ``values`` replaces sources' numbers (an unstable source); ``unsaved`` results outlive nothing; ``unlookable``
    vertices cannot tell contents; ``needs`` are the resources of every execution. ``lost`` holds tokens that no longer
    load; ``held`` counts the handles on each number, ``collected`` has what `collect` took, ``leases`` is how many are open.

    ``calls`` counts executions, ``looks`` content keys, ``keys`` own keys, ``loads`` tokens; ``order`` lists executions as
    they began.
    """

    clock: VirtualClock = field(default_factory=VirtualClock)
    delays: Mapping[str, float] = field(default_factory=dict)
    key_delays: Mapping[str, float] = field(default_factory=dict)
    look_delays: Mapping[str, float] = field(default_factory=dict)
    failures: frozenset[str] = frozenset()
    key_failures: frozenset[str] = frozenset()
    volatile: frozenset[str] = frozenset()
    values: Mapping[str, int] = field(default_factory=dict)
    unsaved: frozenset[str] = frozenset()
    unlookable: frozenset[str] = frozenset()
    needs: Mapping[str, int] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)
    looks: Counter[str] = field(default_factory=Counter)
    keys: Counter[str] = field(default_factory=Counter)
    loads: Counter[str] = field(default_factory=Counter)
    order: list[str] = field(default_factory=list)
    held: Counter[str] = field(default_factory=Counter)
    collected: set[str] = field(default_factory=set)
    leases: int = 0
    running: int = 0
    most_running: int = 0

    def operation(self, vertex: Vertex, metadata: Metadata, session: object) -> Operation:
        """Return the operation of a vertex."""
        return _FakeOperation(self, vertex)

    def save(self, result: Result) -> str | None:
        """Return the number as text."""
        assert isinstance(result, Number), "not a result of this worker"
        return None if result.name in self.unsaved else result.id

    def load(self, token: str) -> Result | None:
        """Return the number of a token that is not lost."""
        self.loads[token] += 1
        return None if token in self.lost | self.collected else self.handle(int(token))

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Count the leases that are open; numbers need none."""
        self.leases += 1
        try:
            yield
        finally:
            self.leases -= 1

    # -- lifetimes

    def handle(self, value: int, name: str = "") -> Number:
        """Return a new handle on a number; one that was collected is there again."""
        number = Number(value)
        number.name, number.worker = name, self
        self.held[number.id] += 1
        self.collected.discard(number.id)
        return number

    def collect(self) -> frozenset[str]:
        """Lose every number without a handle, as pruning does; return which these were."""
        gone = frozenset(number for number, handles in self.held.items() if not handles) - self.collected
        self.collected |= gone
        return gone

    def require(self, value: Result) -> Number:
        """Return a result that is handed to an operation. Fails if it is not kept."""
        assert isinstance(value, Number), "not a result of this worker"
        assert not value.released, f"{value.id} was released while an operation needs it"
        assert value.id not in self.collected, f"{value.id} was collected while an operation needs it"
        return value


class Number(int):
    """A `llbkit.solver.ports.Result`. ``name`` is that of the vertex that made it, if it was not loaded."""

    name = ""
    worker: FakeWorker
    released = False

    @property
    def id(self) -> str:
        """The number as text."""
        return str(int(self))

    def clone(self) -> Number:
        """Return another handle on the number."""
        assert not self.released, f"{self.id} was released"
        return self.worker.handle(int(self), self.name)

    def release(self) -> None:
        """Give the handle up."""
        if not self.released:
            self.released = True
            self.worker.held[self.id] -= 1


class _FakeOperation:
    def __init__(self, worker: FakeWorker, vertex: Vertex) -> None:
        self._worker = worker
        self._vertex = vertex
        self._name = name_in(vertex)

    @property
    def resources(self) -> Mapping[str, int]:
        return self._worker.needs

    async def cache_map(self, step: Step) -> CacheMap:
        worker, op = self._worker, self._vertex.op
        worker.keys[self._name] += 1
        await worker.clock.sleep(worker.key_delays.get(self._name, 0.0))
        if self._name in worker.key_failures:
            raise LookupError(f"{self._name} has no key")
        inputs: tuple[InputKey, ...] = ()
        if isinstance(op, ops.Exec):
            inputs = tuple(InputKey(content=op.mounts[i].readonly) for i in range(len(self._vertex.inputs)))
        return CacheMap(
            digest=hashlib.sha256(repr(op).encode()).hexdigest(),
            inputs=inputs,
            ingredients={"kind": "number", "args": [self._name]},
            volatile=self._name in worker.volatile,
        )

    async def content_key(self, index: int, value: Result, step: Step) -> ContentKey | None:
        worker = self._worker
        worker.looks[self._name] += 1
        worker.require(value)
        await worker.clock.sleep(worker.look_delays.get(self._name, 0.0))
        worker.require(value)
        if self._name in worker.unlookable:
            return None
        return ContentKey(digest=f"value-{value}", ingredients={"files": {"/value": str(value)}})

    async def execute(self, inputs: Sequence[Result], step: Step) -> Sequence[Result]:
        worker = self._worker
        worker.calls[self._name] += 1
        worker.order.append(self._name)
        worker.running += 1
        worker.most_running = max(worker.most_running, worker.running)
        assert worker.leases, "an operation is executed under a lease"
        step.log(1, f"working on {self._name}\n".encode())
        try:
            self._require(inputs)
            await worker.clock.sleep(worker.delays.get(self._name, 0.0))
            self._require(inputs)
        finally:
            worker.running -= 1
        if self._name in worker.failures:
            raise ArithmeticError(f"inconsistent arithmetic in {self._name}")
        outputs = 1
        if isinstance(self._vertex.op, ops.Exec):
            outputs = sum(mount.output >= 0 for mount in self._vertex.op.mounts)
        return [self._number(inputs, output) for output in range(outputs)]

    def _require(self, inputs: Sequence[Result]) -> None:
        for value in inputs:
            self._worker.require(value)

    def _number(self, inputs: Sequence[Result], output: int) -> Number:
        value = value_of(self._vertex, [item for item in inputs if isinstance(item, int)], output)
        return self._worker.handle(self._worker.values.get(self._name, value), self._name)
