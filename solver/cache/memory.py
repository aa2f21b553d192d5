# SPDX-License-Identifier: Apache-2.0
"""Records in memory: for tests, and for builds that leave nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from llbkit.solver.ports import Link, Record


class MemoryStore:
    """A `llbkit.solver.ports.CacheStore` that lives as long as its process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[str, Record] = {}
        self._by_link: dict[Link, set[str]] = {}
        self._links_of: dict[str, set[Link]] = {}

    def linked(self, links: Sequence[Link]) -> Sequence[frozenset[str]]:
        """Return for each link the ids of the records that have it."""
        with self._lock:
            return [frozenset(self._by_link.get(link, ())) for link in links]

    def select(self, record_ids: Collection[str]) -> Sequence[Record]:
        """Return those of these records that exist, newest first."""
        with self._lock:
            return _newest_first(self._records[id_] for id_ in record_ids if id_ in self._records)

    def store(self, record: Record, links: Sequence[Link]) -> None:
        """Add a record with its links, in place of one of the same id and its links."""
        with self._lock:
            self._drop(record.id)
            self._records[record.id] = record
            self._add(record.id, links)

    def link(self, record_id: str, links: Sequence[Link]) -> None:
        """Add more links to a record, if it still exists."""
        with self._lock:
            if record_id in self._records:
                self._add(record_id, links)

    def touch(self, record_ids: Sequence[str], now: float) -> None:
        """Note that records were used."""
        with self._lock:
            for id_ in record_ids:
                if id_ in self._records:
                    record = self._records[id_]
                    self._records[id_] = replace(record, last_used_at=now, used=record.used + 1)

    def nearest(self, digest: str, name: str) -> Sequence[Record]:
        """Return records with the same name or op, newest first, at most eight."""
        with self._lock:
            near = (r for r in self._records.values() if digest == r.digest or name == r.name)
            return _newest_first(near)[:8]

    def records(self) -> Sequence[Record]:
        """Return every record, oldest use first."""
        with self._lock:
            return sorted(self._records.values(), key=lambda r: (r.last_used_at, r.id))

    def delete(self, record_ids: Sequence[str]) -> None:
        """Forget records and their links."""
        with self._lock:
            for id_ in record_ids:
                self._drop(id_)

    def durations(self, digests: Sequence[str]) -> Mapping[str, float]:
        """Return the last known duration of each op digest that has one."""
        with self._lock:
            wanted = set(digests)
            newest = sorted(self._records.values(), key=lambda r: r.created_at)
            return {r.digest: r.duration for r in newest if r.digest in wanted}

    def close(self) -> None:
        """Nothing to release."""

    def _add(self, record_id: str, links: Sequence[Link]) -> None:
        self._links_of.setdefault(record_id, set()).update(links)
        for link in links:
            self._by_link.setdefault(link, set()).add(record_id)

    def _drop(self, record_id: str) -> None:
        self._records.pop(record_id, None)
        for link in self._links_of.pop(record_id, ()):
            self._by_link[link].discard(record_id)
            if not self._by_link[link]:
                del self._by_link[link]


def _newest_first(records: Iterable[Record]) -> list[Record]:
    return sorted(records, key=lambda record: (-record.created_at, record.id))
