# SPDX-License-Identifier: Apache-2.0
"""A job: one client's solves. It takes graphs in, has their vertices solved, and can say what was executed and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Self

from llbkit.grammar import Span
from llbkit.llb.ir.graph import Edge, Graph, Vertex, merge_metadata
from llbkit.llb.ir.walk import postorder
from llbkit.llb.tools.names import name_of
from llbkit.solver.events import Progress
from llbkit.solver.passes.rewrite import Part
from llbkit.solver.ports import CacheSource, Result
from llbkit.solver.reporting import Reporter, StepReporter
from llbkit.solver.schedule.execution import Tools
from llbkit.solver.schedule.flight import together
from llbkit.solver.schedule.vertex import Executions, VertexSolver
from llbkit.solver.schedule.work import Work

if TYPE_CHECKING:
    from llbkit.solver.explain import Miss

NO_PARTS: Mapping[str, tuple[Part, ...]] = MappingProxyType({})
_GUESS = 1.0
"""Seconds that a vertex is assumed to take which was never executed."""


class Job:
    """One client's solves. Vertices with equal digests are one; `solve` may be called again and concurrently.

    An async context manager. It holds all its results until the context is left; who needs one for longer keeps a clone.
    """

    def __init__(
        self,
        tools: Tools,
        executions: Executions,
        session: object,
        progress: Progress,
        sources: Sequence[CacheSource],
    ) -> None:
        self._tools = tools
        self._reporter = Reporter(progress)
        self._works: dict[str, Work] = {}
        self._lease = ExitStack()
        self._vertices = VertexSolver(tools, executions, session, (*tools.sources, *sources))

    async def __aenter__(self) -> Self:
        self._reporter.bind()
        self._lease.enter_context(self._tools.worker.lease())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reporter.drain()
        for work in self._works.values():
            work.release()
        self._lease.__exit__(kind, error, trace)
        used = tuple(self._vertices.used)
        self._vertices.used.clear()
        if used:
            try:
                self._tools.home.store.touch(used, self._tools.clock.time())
            except Exception:
                if error is None:  # else it would hide why the job ended
                    raise
        if error is None:
            self._reporter.check()

    async def solve(self, graph: Graph, *, parts: Mapping[str, tuple[Part, ...]] = NO_PARTS) -> Result | None:
        """Return the result of the graph's head, which is the job's own handle; None for scratch.

        ``parts`` says by digest what the actions of fused file ops come from (`llbkit.solver.passes.Rewritten.parts`). A vertex
        that failed once in a job fails again without being executed; one that was solved stays so, even if a later graph
        ignores its cache.

        Raises:
            VertexError: a vertex failed. Everything else that only this solve wants is cancelled.
            SolveError: the head names an output that its vertex does not have.
            Exception: what the progress sink raised; it cancels the solve.
        """
        if graph.head is None:
            return None
        async with self._reporter.interruptible():
            return await self._solve(graph, graph.head, parts)

    async def _solve(self, graph: Graph, head_edge: Edge, parts: Mapping[str, tuple[Part, ...]]) -> Result:
        works = self._take(graph, head_edge.vertex, parts)
        await together(*(self._vertices.ask_own_key(work) for work in works if work.own is None))
        for work in works:
            if work.results is None:
                work.define()
        head = self._works[head_edge.vertex.digest]
        self._vertices.expect(works)
        if not await self._vertices.look_up(head):
            self._rank(works)
            await self._vertices.solve(head)
        return head.result(head_edge.index)

    def misses(self) -> tuple[Miss, ...]:
        """Return what was executed because no record was found, inputs first; `llbkit.solver.explain.explain` says why."""
        from llbkit.solver.explain import Miss

        return tuple(
            Miss(
                digest=work.vertex.digest,
                name=work.name,
                key=work.cache_map.digest,
                ingredients=work.ingredients(),
                record_id=work.record_id,
                ignored=work.metadata.ignore_cache,
                lost=work.lost,
            )
            for work in self._works.values()
            if work.results is not None and not work.found
        )

    def _take(self, graph: Graph, head: Vertex, parts: Mapping[str, tuple[Part, ...]]) -> list[Work]:
        """Take in every vertex that the head reaches; return their works in the graph's order, inputs first."""
        order = postorder([head], lambda vertex: [edge.vertex for edge in vertex.inputs])
        reached = set(order)
        if len(listed := [vertex for vertex in graph.vertices if vertex in reached]) == len(order):
            order = listed
        spans = _origins(graph, order)
        for vertex in order:
            metadata = graph.metadata_of(vertex.digest)
            known = self._works.get(vertex.digest)
            if known is not None:
                self._take_again(known, graph, spans[vertex.digest])
                continue
            inputs = tuple(self._works[edge.vertex.digest] for edge in vertex.inputs)
            work = Work(
                vertex=vertex,
                metadata=metadata,
                name=name_of(vertex, metadata, [below.name for below in inputs]),
                spans=spans[vertex.digest],
                inputs=inputs,
                events=StepReporter(vertex.digest, self._reporter.emit, self._tools.clock),
                clock=self._tools.clock,
                parts=parts.get(vertex.digest, ()),
            )
            self._works[vertex.digest] = work
            work.show_added()
        return [self._works[vertex.digest] for vertex in order]

    def _take_again(self, work: Work, graph: Graph, spans: tuple[Span, ...]) -> None:
        """Merge what a further graph says of a known vertex; what it is called by its last user is what it is called."""
        digest = work.vertex.digest
        work.metadata = merge_metadata(work.metadata, graph.metadata_of(digest))
        work.spans = work.spans or spans
        name = name_of(work.vertex, work.metadata, [below.name for below in work.inputs])
        if name != work.name:
            work.name = name
            work.show_added()

    def _rank(self, works: Sequence[Work]) -> None:
        """Estimate, for each vertex, the seconds from its start to the end of the head."""
        durations = self._tools.home.store.durations(list({work.cache_map.digest for work in works}))
        above = dict.fromkeys(works, 0.0)
        for work in reversed(works):
            path = above[work] + durations.get(work.cache_map.digest, _GUESS)
            work.remaining = max(work.remaining, path)
            for below in work.inputs:
                above[below] = max(above[below], path)


def _origins(graph: Graph, order: Sequence[Vertex]) -> dict[str, tuple[Span, ...]]:
    """Return the spans of each vertex by digest. One without own spans, as what ADD fetches, has its first user's."""
    spans: dict[str, tuple[Span, ...]] = {}
    for vertex in reversed(order):
        own = spans[vertex.digest] = graph.spans_of(vertex.digest) or spans.get(vertex.digest, ())
        for edge in vertex.inputs if own else ():
            spans[edge.vertex.digest] = own
    return spans
