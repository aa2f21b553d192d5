# SPDX-License-Identifier: Apache-2.0
"""The solver: what jobs share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from solver.clock import SystemClock
from solver.events import Progress, discard
from solver.flight import Flights
from solver.job import Job
from solver.ports import CacheStore, Clock, Result, Worker
from solver.resources import Resources


class Solver:
    """Runs jobs on one worker with one store of records. Belongs to one event loop at a time.

    ``resources`` maps the names that operations ask for to how many there are.
    """

    def __init__(
        self, worker: Worker, store: CacheStore, *, resources: Mapping[str, int], clock: Clock | None = None
    ) -> None:
        self.worker = worker
        self.store = store
        self.clock = clock or SystemClock()
        self.resources = Resources(resources)
        self.executions: Flights[Sequence[Result]] = Flights()

    def job(self, *, session: object, progress: Progress = discard) -> Job:
        """Return a job: an async context manager whose solves share what they have in common."""
        return Job(self, session, progress)
