# SPDX-License-Identifier: Apache-2.0
"""The solver's interfaces to the outside: a worker that executes vertices, a store for cache records, a clock.

The solver knows no container, registry or file. A *result* is made by `Operation.execute`, handed to the operations that
depend on it, and turned into a *token* (a string) to outlive the process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from types import MappingProxyType
from typing import Protocol, TypeAlias

from llbkit.llb.ir.graph import Metadata, Vertex
from llbkit.records import dataclass

Json: TypeAlias = "None | bool | int | float | str | Sequence[Json] | Mapping[str, Json]"
NOTHING: Mapping[str, Json] = MappingProxyType({})


class Result(Protocol):
    """A handle on what a vertex gave. It stays usable until it is released, whatever is pruned meanwhile.

    Who makes or clones a handle releases it. One that is only handed in (the inputs of an operation, the result of
    `Job.solve`) belongs to somebody else: whoever keeps it for longer than the call, or the job, keeps a clone.
    """

    @property
    def id(self) -> str:
        """Names the result in its worker; clones have the id of the original."""

    def clone(self) -> Result:
        """Return another handle on the same. Of a handle that was not released."""

    def release(self) -> None:
        """Give the handle up; idempotent. When the last one is gone, the worker may remove what it stood for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputKey:
    """How one input of a vertex takes part in the vertex's key.

    ``selector`` tells apart uses of different parts of the input and is hashed in. With ``content`` the input may
    also be identified by what is in it: `Operation.content_key` is then asked once the input is solved.
    """

    selector: str = ""
    content: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMap:
    """A vertex's own share of its key.

    ``digest`` covers all of the op that can change its result, and nothing else. ``inputs`` has one entry for each
    vertex input. ``ingredients`` is the same in readable form (secrets only as "present"): it is stored with the
    record and is what an explanation of a miss compares. ``volatile`` keys are never looked up or stored; only the
    content of the result can identify it further down (a local directory).
    """

    digest: str
    inputs: tuple[InputKey, ...] = ()
    ingredients: Mapping[str, Json] = field(default_factory=lambda: NOTHING)
    volatile: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentKey:
    """The identity of the part of an input that a vertex can see, with its ingredients (e.g. per-file digests)."""

    digest: str
    ingredients: Mapping[str, Json] = field(default_factory=lambda: NOTHING)


class Step(Protocol):
    """The solver's side of one running vertex, handed to every operation call."""

    @property
    def vertex(self) -> Vertex:
        """The vertex being worked on."""

    @property
    def metadata(self) -> Metadata:
        """Its metadata, merged over all jobs that want it."""

    @property
    def name(self) -> str:
        """What users see as the step's name."""

    def log(self, stream: int, data: bytes) -> None:
        """Report process output (1 stdout, 2 stderr). Callable from any thread."""

    def status(self, id: str, name: str, current: int, total: int, *, done: bool = False) -> None:  # noqa: A002
        """Report sub-progress, e.g. bytes of one layer. Callable from any thread."""


class Operation(Protocol):
    """What a worker can do for one vertex. Calls are cancelled by cancelling the awaiting task."""

    @property
    def resources(self) -> Mapping[str, int]:
        """The named semaphores that `execute` needs, e.g. ``{"exec": 1}``."""

    async def cache_map(self, step: Step) -> CacheMap:
        """Return the vertex's own key. May ask the network (resolve a tag), must not do the work itself."""

    async def content_key(self, index: int, value: Result, step: Step) -> ContentKey | None:
        """Return what input ``index`` looks like from this vertex; None if unknown.

        May fail as `execute` would, if the input alone tells that it will.
        """

    async def execute(self, inputs: Sequence[Result], step: Step) -> Sequence[Result]:
        """Do the work. Returns one result for each output of the op, handles of their own that the caller releases.

        An error may say in an attribute ``part`` which action of a file op failed, by its number.
        """


class Worker(Protocol):
    """Executes vertices and keeps results."""

    def operation(self, vertex: Vertex, metadata: Metadata, session: object) -> Operation:
        """Return the operation of a vertex. ``session`` is the job's, opaque to the solver."""

    def save(self, result: Result) -> str | None:
        """Return a token from which `load` can find the result in any later process; None if there is none."""

    def load(self, token: str) -> Result | None:
        """Return the result of a token, a handle that the caller releases; None if it is gone (pruned, damaged)."""

    def lease(self) -> AbstractContextManager[None]:
        """While the context lasts, keep what operations make and look at, so far as no result keeps it, from being pruned.

        That goes for operations called in this task and in those started from it. Contexts nest; the inner one counts.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A remembered execution: one result token for each output, by which the source of the record finds the result.

    ``id`` is the record's own stable key: the digest of (op digest, first known key of each input), so equal work
    has an equal id on every machine; only what was renewed in spite of a record has an id of its own. ``duration`` is in seconds, the times in seconds since 1970.
    """

    id: str
    digest: str
    name: str
    ingredients: Mapping[str, Json]
    created_at: float
    last_used_at: float
    tokens: tuple[str, ...] = ()
    used: int = 0
    duration: float = 0.0


@dataclass(frozen=True, slots=True)
class Link:
    """A way to find a record: op ``digest``, whose input ``index`` (-1: no inputs) has the key ``key``.

    ``selector`` is part of it. A record is a hit if it is linked through *some* known key of *every* input.
    """

    digest: str
    index: int
    selector: str
    key: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """A record and its results: handles that belong to whoever holds this."""

    record: Record
    results: tuple[Result, ...]

    def release(self) -> None:
        """Give the results up."""
        for result in self.results:
            result.release()


class CacheSource(Protocol):
    """Where results of earlier executions may be had: the worker's own store, an imported manifest, a store far away.

    A query may be about a whole graph, and costs one exchange with whatever stands behind the source. That a record is
    found says nothing about whether its results still are. Errors of a source other than the first of a solver are shown
    as warnings, and the source counts as empty.
    """

    @property
    def name(self) -> str:
        """What users call it."""

    async def query(self, links: Sequence[Link]) -> Sequence[frozenset[str]]:
        """Return for each link the ids of the records that have it."""

    async def load(self, record_ids: Collection[str]) -> Loaded | None:
        """Return one of these records, the newest first, whose results can be had; None if there is none.

        The results are the worker's own, such as `Worker.load` returns. They need not be here yet.
        """

    async def save(self, record: Record, links: Sequence[Link], results: Sequence[Result]) -> bool:
        """Keep results under these links, in place of a record of the same id; return whether that was possible.

        ``record`` has no tokens: these are the source's own business. The results stay the caller's. A source that can
        only be read keeps nothing.
        """


class CacheStore(Protocol):
    """Persistent cache records. Every method is one transaction, and callable from any thread."""

    def linked(self, links: Sequence[Link]) -> Sequence[frozenset[str]]:
        """Return for each link the ids of the records that have it."""

    def select(self, record_ids: Collection[str]) -> Sequence[Record]:
        """Return those of these records that exist, newest first."""

    def store(self, record: Record, links: Sequence[Link]) -> None:
        """Add a record with its links; one of the same id is replaced, and its links are dropped.

        (The links of the one before may name content that the new one was not made of.)
        """

    def link(self, record_id: str, links: Sequence[Link]) -> None:
        """Add more links to a record, if it still exists."""

    def touch(self, record_ids: Sequence[str], now: float) -> None:
        """Note that records were used."""

    def nearest(self, digest: str, name: str) -> Sequence[Record]:
        """Return records to compare a miss with: same name or same op, newest first, at most a handful."""

    def records(self) -> Sequence[Record]:
        """Return every record, oldest use first."""

    def delete(self, record_ids: Sequence[str]) -> None:
        """Forget records and their links."""

    def durations(self, digests: Sequence[str]) -> Mapping[str, float]:
        """Return the last known duration in seconds of each op digest that has one."""

    def close(self) -> None:
        """Release the store."""


class Clock(Protocol):
    """Time as a port, so that tests run on a virtual clock."""

    def time(self) -> float:
        """Seconds since 1970."""

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Wait."""
