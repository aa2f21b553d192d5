# SPDX-License-Identifier: Apache-2.0
"""Driving the solver in tests: a virtual clock that advances whenever every task waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from llb.graph import Edge, Graph, Metadata, Vertex
from llb.walk import postorder
from solver.cache.memory import MemoryStore
from solver.fake import FakeWorker
from solver.solver import Solver

T = TypeVar("T")


def graph_of(head: Vertex, metadata: dict[str, Metadata] | None = None) -> Graph:
    vertices = postorder([head], lambda v: [edge.vertex for edge in v.inputs])
    return Graph(vertices=tuple(vertices), head=Edge(head), metadata=metadata or {})


def solver_of(worker: FakeWorker, store: object = None, **resources: int) -> Solver:
    return Solver(worker, store or MemoryStore(), resources={"exec": 4, **resources}, clock=worker.clock)


async def in_virtual_time(worker: FakeWorker, work: Awaitable[T]) -> T:
    """Await ``work``; when nothing can run, let the clock wake the next sleeper."""
    task = asyncio.ensure_future(work)
    while not task.done():
        for _ in range(50):
            await asyncio.sleep(0)
            if task.done():
                break
        else:
            worker.clock.advance()
    return await task


def solve(worker: FakeWorker, *heads: Vertex, store: object = None, progress=None, metadata=None):
    """Solve heads in one job on a fresh solver and return their values."""

    async def main():
        solver = solver_of(worker, store)
        async with solver.job(session=None, progress=progress or (lambda event: None)) as job:
            return [await job.solve(graph_of(head, metadata)) for head in heads]

    return asyncio.run(in_virtual_time(worker, main()))
