# SPDX-License-Identifier: Apache-2.0
"""The solver: state shared by all jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llbkit.solver.cache.source import StoreSource
from llbkit.solver.clock import SystemClock
from llbkit.solver.events import Progress, discard
from llbkit.solver.ports import CacheSource, CacheStore, Clock, Worker
from llbkit.solver.schedule.execution import Executed, Tools
from llbkit.solver.schedule.flight import Flights
from llbkit.solver.schedule.job import Job
from llbkit.solver.schedule.resources import Resources
from llbkit.solver.schedule.vertex import Executions


class Solver:
    """Runs jobs on one worker. Belongs to one event loop at a time.

    Records are looked for in ``store``, then in ``sources``, one after the other; what is executed, and what another source
    had, is remembered in ``store``. ``resources`` maps the names that operations ask for to how many there are.
    """

    def __init__(
        self,
        worker: Worker,
        store: CacheStore,
        *,
        sources: Sequence[CacheSource] = (),
        resources: Mapping[str, int],
        clock: Clock | None = None,
    ) -> None:
        self.worker = worker
        self.store = store
        self._tools = Tools(
            worker=worker,
            home=StoreSource(store, worker),
            sources=tuple(sources),
            clock=clock or SystemClock(),
            resources=Resources(resources),
        )
        self._executions: Executions = Flights(Executed.release)

    @property
    def executing(self) -> int:
        """How many vertices are being executed, or wait for the resources to be."""
        return len(self._executions)

    def job(
        self, *, session: object, progress: Progress = discard, sources: Sequence[CacheSource] = ()
    ) -> Job:
        """Return a job: an async context manager whose solves share what they have in common.

        ``sources`` are asked after the solver's, for this job only. ``session`` is handed to the worker's operations. ``progress`` is called on the thread of the event loop.
        """
        return Job(self._tools, self._executions, session, progress, sources)
