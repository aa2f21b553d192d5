# SPDX-License-Identifier: Apache-2.0
"""A job's state of one vertex, and how it is reported."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import field

from llbkit.grammar import Span
from llbkit.llb.ir.graph import Metadata, Vertex
from llbkit.llb.ir.walk import postorder
from llbkit.records import dataclass
from llbkit.solver import keys
from llbkit.solver.errors import SolveError, VertexError
from llbkit.solver.keys import KnownInput
from llbkit.solver.passes.rewrite import Part
from llbkit.solver.ports import CacheMap, Clock, ContentKey, Json, Operation, Result
from llbkit.solver.reporting import StepReporter

CANCELED = "context canceled"


@dataclass(slots=True, eq=False, kw_only=True)
class Work:
    """One vertex of a job: its keys as far as they are known, its results, its place in the progress display.

    It is the `llbkit.solver.ports.Step` of the operation's key calls. ``looked_up`` is set once it is known whether the vertex is
    found in the store, ``wanted`` once somebody needs its results.

    ``ignores_cache`` means that the vertex or one below it ignores the cache. Its definition key then still names what it makes
    (so that the next build finds it) but must not be used to look up: that would bring back what is being renewed.
    """

    vertex: Vertex
    metadata: Metadata
    name: str
    spans: tuple[Span, ...]
    inputs: tuple[Work, ...]
    events: StepReporter
    clock: Clock
    parts: tuple[Part, ...] = ()

    made: Operation | None = None
    own: CacheMap | None = None
    definition_key: str | None = None
    ignores_cache: bool = False
    record_id: str | None = None
    found: bool = False
    lost: bool = False
    contents: dict[int, ContentKey | None] = field(default_factory=dict)
    results: Sequence[Result] | None = None
    error: VertexError | None = None
    remaining: float = 0.0

    looked_up: asyncio.Event = field(default_factory=asyncio.Event)
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    running: bool = False
    shown: bool = False

    def reset(self) -> None:
        """Forget how far the search had come: it was cancelled and may begin again, unless that came when all was done."""
        if self.results is not None:
            self.looked_up.set()
            return
        self.looked_up, self.wanted = asyncio.Event(), asyncio.Event()

    @property
    def operation(self) -> Operation:
        """What the worker does for the vertex."""
        assert self.made is not None, "the operation is created together with the cache map"
        return self.made

    @property
    def cache_map(self) -> CacheMap:
        """The vertex's own key."""
        assert self.own is not None, "the cache map is requested first"
        return self.own

    @property
    def lookable(self) -> bool:
        """Whether records may be looked for at all."""
        return not (self.metadata.ignore_cache or self.cache_map.volatile)

    def result(self, index: int) -> Result:
        """Return the result of one output. Raises SolveError if the op has no such output."""
        assert self.results is not None, "only solved vertices have results"
        if index >= len(self.results):
            raise SolveError(f"output {index} of {self.name} does not exist: it has {len(self.results)}")
        return self.results[index]

    def release(self) -> None:
        """Give up the results: the job has ended."""
        for result in self.results or ():
            result.release()

    # -- keys

    def output_keys(self, index: int, *, trusted: bool) -> tuple[str, ...]:
        """Return the known keys of one output, the definition key first; ``trusted`` leaves out what may be outdated."""
        found: tuple[str | None, ...] = (self.definition_key, self.record_id)
        if trusted and self.ignores_cache:
            found = (self.record_id,)
        return tuple(keys.output_key(key, index) for key in dict.fromkeys(found) if key is not None)

    def known_input(self, number: int, *, trusted: bool) -> KnownInput:
        """Return what is known about input ``number``."""
        found = self.inputs[number].output_keys(self.vertex.inputs[number].index, trusted=trusted)
        content = self.contents.get(number)
        if content is not None:
            found = (*found, keys.content_key(content.digest))
        return KnownInput(self.cache_map.inputs[number].selector, found)

    def known(self, *, trusted: bool) -> list[KnownInput]:
        """Return what is known about every input: ``trusted`` to look up, all of it to store."""
        return [self.known_input(number, trusted=trusted) for number in range(len(self.inputs))]

    def define(self) -> None:
        """Derive the definition key from those of the inputs, and whether anything here is being renewed."""
        inputs = []
        for below, edge, item in zip(self.inputs, self.vertex.inputs, self.cache_map.inputs, strict=True):
            key = below.definition_key
            inputs.append(KnownInput(item.selector, (keys.output_key(key, edge.index),) if key else ()))
        self.definition_key = keys.vertex_key(self.cache_map, inputs)
        self.ignores_cache = self.metadata.ignore_cache or any(below.ignores_cache for below in self.inputs)

    def ingredients(self) -> Mapping[str, Json]:
        """Return what a later miss is compared with: the op's own ingredients, and each input's keys and content."""
        inputs: list[Json] = []
        for number, item in enumerate(self.known(trusted=False)):
            entry: dict[str, Json] = {"name": self.inputs[number].name, "keys": item.keys}
            if item.selector:
                entry["selector"] = item.selector
            if (content := self.contents.get(number)) is not None:
                entry |= {"content": content.digest, "parts": content.ingredients}
            inputs.append(entry)
        return {"op": self.cache_map.ingredients, "inputs": inputs}

    # -- telling

    def log(self, stream: int, data: bytes) -> None:
        """Report process output. Callable from any thread."""
        self.events.log(stream, data)

    def status(self, id: str, name: str, current: int, total: int, *, done: bool = False) -> None:  # noqa: A002
        """Report sub-progress. Callable from any thread."""
        self.events.status(id, name, current, total, done)

    def show_added(self) -> None:
        """Show that the vertex is part of the build, under its present name."""
        group = self.metadata.progress_group
        inputs = [below.vertex.digest for below in self.inputs]
        self.events.added(self.name, inputs, group.id if group else "")

    def show_started(self) -> None:
        """Show that work on the vertex goes on."""
        if not self.running:
            self.running = self.shown = True
            self.events.started()

    def show_completed(self, *, error: str = "") -> None:
        """Show that the work has ended, if it ever began."""
        if self.running:
            self.running = False
            self.events.completed(error=error)

    def show_cached(self) -> None:
        """Show the vertex, and everything below it that therefore never has to start, as cached."""
        now = self.clock.time()
        for work in postorder([self], lambda item: [below for below in item.inputs if not below.shown]):
            if not work.shown:
                work.shown = True
                work.events.cached(now)

    def fail(self, error: Exception) -> VertexError:
        """Show and return a failure of this vertex."""
        self.show_started()
        self.show_completed(error=str(error) or type(error).__name__)
        name, spans = self._blamed(error)
        failure = VertexError(self.vertex.digest, name, spans, error)
        failure.__cause__ = error
        return failure

    def _blamed(self, error: Exception) -> tuple[str, tuple[Span, ...]]:
        """Return name and lines of what failed: of a fused file op, the step that the failed action comes from."""
        number = getattr(error, "part", None)
        if not isinstance(number, int) or not 0 <= number < len(self.parts):
            return self.name, self.spans
        part = self.parts[number]
        return part.name, part.spans or self.spans
