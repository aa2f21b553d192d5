# SPDX-License-Identifier: Apache-2.0
"""Leases: what keeps layers and blobs from being pruned.

A `Lease` belongs to whoever needs what it holds: a job, an execution that several jobs may share, a result, a handle that a
program has. It ends when it is released, and at the latest when nobody refers to it any more, so a process that lives for
long lets go of what no job uses.

What other processes see is one row for each layer or blob that some lease of this process holds. The process is known by
its *owner* name, whose lock file tells whether it lives (`llbkit.worker.state.directory`): a lock goes with its process
however that ends, and unlike a process number it is never reused. Rows of the dead are dropped by whoever opens the state
directory next; layers that a dead process held become *suspect* until the layer store has looked at them.

Counting: a count goes from or to zero only inside a write transaction, which the database gives to one at a time, so row
and count agree. Everything else is arithmetic in memory. Garbage collection may run in the middle of a transaction;
therefore a lease that ends is only put on a list, and `Leases.settle` does the rest: at the end of every `Leases.working`,
when a result is released while nothing works, and before anything is measured or pruned.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Literal, NamedTuple

from llbkit.worker.base import StorageError
from llbkit.worker.state.metadata import Metadata

Kind = Literal["layer", "blob"]
Target = tuple[Kind, str]

_SCHEMA = """
CREATE TABLE lease (owner TEXT NOT NULL, kind TEXT NOT NULL, target TEXT NOT NULL,
  PRIMARY KEY (owner, kind, target)) WITHOUT ROWID
"""
_SUSPECT = "CREATE TABLE suspect (layer INTEGER PRIMARY KEY, rebooted INTEGER NOT NULL)"


class Suspect(NamedTuple):
    """A layer that a dead process held. ``rebooted``: the machine went down with it, so files may be incomplete."""

    layer: int
    rebooted: bool


class Lease:
    """Holds layers and blobs until it is released or garbage collected. Made by `Leases`, which changes ``targets``."""

    __slots__ = ("_ended", "targets")

    def __init__(self, ended: deque[AbstractSet[Target]]) -> None:
        self.targets: set[Target] = set()
        self._ended: deque[AbstractSet[Target]] | None = ended

    @property
    def is_released(self) -> bool:
        """Whether it holds nothing any more and never will."""
        return self._ended is None

    def release(self) -> None:
        """Hold nothing any more, from the next `Leases.settle` on; idempotent. Takes no lock: it may run anywhere."""
        ended, self._ended = self._ended, None
        if ended is not None:
            ended.append(self.targets)

    def __del__(self) -> None:
        self.release()


_current: ContextVar[tuple[Leases, Lease] | None] = ContextVar("llbkit_lease", default=None)


class Leases:
    """The leases of this process, ``owner``, on a state directory. Thread-safe."""

    def __init__(self, metadata: Metadata, owner: str) -> None:
        self._db = metadata
        self.owner = owner
        self._lock = threading.Lock()
        self._counts: Counter[Target] = Counter()
        self._ended: deque[AbstractSet[Target]] = deque()
        self._process = Lease(self._ended)
        self._working = 0
        metadata.register("leases", 1, _SCHEMA)
        metadata.register("suspects", 1, _SUSPECT)

    # -- whose lease it is

    @contextmanager
    def working(self) -> Iterator[None]:
        """Hold whatever is pinned in this task, and in those started from it, while the context lasts.

        A thread of `llbkit.worker.host.pools.Pools` belongs to the task that waits for it. Contexts nest; the inner one
        counts.

        Raises:
            StorageError: at the end, if the rows cannot be removed.
        """
        lease = Lease(self._ended)
        before = _current.get()
        _current.set((self, lease))
        with self._lock:
            self._working += 1
        failed = True
        try:
            yield
            failed = False
        finally:
            _current.set(before)
            with self._lock:
                self._working -= 1
            lease.release()
            with suppress(*((StorageError,) if failed else ())):  # else it would hide why the work ended
                self.settle()

    def _mine(self) -> Lease:
        """Return the lease of what runs now; outside of every `working`, what is pinned stays while the process lives."""
        now = _current.get()
        return now[1] if now is not None and now[0] is self and not now[1].is_released else self._process

    # -- pinning

    def pin_layers(self, layers: Iterable[int]) -> None:
        """Keep layers from being pruned while the work that is going on lasts."""
        self._pin(self._mine(), {("layer", str(layer)) for layer in layers})

    def pin_blob(self, digest: str) -> None:
        """Keep a blob from being pruned while the work that is going on lasts."""
        self._pin(self._mine(), {("blob", digest)})

    def hold_layers(self, layers: Iterable[int]) -> Lease:
        """Return a lease of its own that keeps layers from being pruned."""
        lease = Lease(self._ended)
        self._pin(lease, {("layer", str(layer)) for layer in layers})
        return lease

    def _pin(self, lease: Lease, targets: set[Target]) -> None:
        with self._lock:
            targets = targets - lease.targets
            self._count(lease, {target for target in targets if self._counts[target]})
            new = targets - lease.targets
        if new:
            with self._pinning(lease) as (_, pin):
                pin(new)

    @contextmanager
    def transaction(self) -> Iterator[tuple[sqlite3.Connection, Callable[[int], None]]]:
        """Run a block as a write transaction, given a function that pins a layer in it."""
        with self._pinning(self._mine()) as (db, pin):
            yield db, lambda layer: pin({("layer", str(layer))})

    @contextmanager
    def _pinning(self, lease: Lease) -> Iterator[tuple[sqlite3.Connection, Callable[[set[Target]], None]]]:
        counted: set[Target] = set()

        def pin(targets: set[Target]) -> None:
            db.executemany(
                "INSERT OR IGNORE INTO lease (owner, kind, target) VALUES (?, ?, ?)",
                [(self.owner, *target) for target in targets],
            )
            with self._lock:
                fresh = targets - lease.targets
                self._count(lease, fresh)
                counted.update(fresh)

        try:
            with self._db.transaction() as db:
                yield db, pin
        except BaseException:  # there are no rows
            with self._lock:
                self._counts.subtract(counted)
                lease.targets -= counted
            raise

    def _count(self, lease: Lease, targets: set[Target]) -> None:
        self._counts.update(targets)
        lease.targets |= targets

    # -- letting go

    def settle_if_idle(self) -> None:
        """Give up what ended leases held, unless work is going on, whose end will do so.

        Raises:
            StorageError: the rows cannot be removed; they will be the next time.
        """
        if not self._working:
            self.settle()

    def settle(self) -> None:
        """Give up what ended leases held.

        Raises:
            StorageError: the rows cannot be removed; they will be the next time.
        """
        last: list[Target] = []
        with self._lock:
            while self._ended:
                for target in self._ended.popleft():
                    if self._counts[target] > 1:
                        self._counts[target] -= 1
                    elif self._counts[target]:  # else `drop` came first
                        last.append(target)
        if last and not self._db.damaged:
            self._give_up(last)

    def _give_up(self, targets: list[Target]) -> None:
        lowered = False
        try:
            with self._db.transaction() as db:
                with self._lock:
                    self._counts.subtract(targets)
                    lowered = True
                    gone = [target for target in targets if not self._counts[target]]
                    for target in gone:
                        del self._counts[target]
                db.executemany(
                    "DELETE FROM lease WHERE owner = ? AND kind = ? AND target = ?",
                    [(self.owner, *target) for target in gone],
                )
        except BaseException:
            with self._lock:
                if lowered:
                    self._counts.update(targets)
            self._ended.append(set(targets))
            raise

    def drop(self) -> None:
        """Drop all that this process holds."""
        if self._db.query("SELECT 1 FROM lease WHERE owner = ? LIMIT 1", (self.owner,)):
            with self._db.transaction() as db:
                db.execute("DELETE FROM lease WHERE owner = ?", (self.owner,))
        with self._lock:
            self._counts.clear()
            self._ended.clear()
            self._process.targets.clear()

    # -- reading

    def layers(self, db: sqlite3.Connection | None = None) -> frozenset[int]:
        """Return the layers that living processes hold, as seen by a transaction if one is given."""
        return frozenset(int(target) for target in self._targets("layer", db))

    def blobs(self, db: sqlite3.Connection | None = None) -> frozenset[str]:
        """Return the blobs that living processes hold, as seen by a transaction if one is given."""
        return frozenset(self._targets("blob", db))

    def _targets(self, kind: Kind, db: sqlite3.Connection | None) -> list[str]:
        query = "SELECT target FROM lease WHERE kind = ?"
        rows = self._db.query(query, (kind,)) if db is None else db.execute(query, (kind,))
        return [row[0] for row in rows]

    # -- the dead

    def owners(self) -> frozenset[str]:
        """Return all lease owners, dead or alive."""
        return frozenset(row[0] for row in self._db.query("SELECT DISTINCT owner FROM lease"))

    def drop_owner(self, owner: str, *, rebooted: bool) -> None:
        """Drop a dead process's pins and note its layers as suspect."""
        with self._db.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO suspect SELECT CAST(target AS INTEGER), ? FROM lease "
                "WHERE owner = ? AND kind = 'layer'",
                (int(rebooted), owner),
            )
            db.execute("DELETE FROM lease WHERE owner = ?", (owner,))

    def suspects(self) -> list[Suspect]:
        """Return the suspect layers."""
        rows = self._db.query("SELECT layer, rebooted FROM suspect")
        return [Suspect(layer, bool(rebooted)) for layer, rebooted in rows]

    @staticmethod
    def clear_suspects(db: sqlite3.Connection, layers: Iterable[int]) -> None:
        """Forget suspicions, in the transaction that mends what was found."""
        db.executemany("DELETE FROM suspect WHERE layer = ?", [(layer,) for layer in layers])
