# SPDX-License-Identifier: Apache-2.0
"""Records in memory: for tests, and for builds that shall leave nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

from solver.ports import Link, Record


class MemoryStore:
    """A `solver.ports.CacheStore` that lives as long as its process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[str, Record] = {}
        self._links: dict[Link, set[str]] = {}

    def find(self, digest: str, inputs: Sequence[tuple[str, frozenset[str]]]) -> Sequence[Record]:
        """Return the records linked through some key of every input, newest first."""
        with self._lock:
            if not inputs:
                found = set(self._links.get(Link(digest, -1, "", ""), ()))
            else:
                found = set.intersection(
                    *(
                        {
                            id_
                            for key in known
                            for id_ in self._links.get(Link(digest, index, selector, key), ())
                        }
                        for index, (selector, known) in enumerate(inputs)
                    )
                )
            return sorted((self._records[id_] for id_ in found), key=lambda r: (-r.created_at, r.id))

    def store(self, record: Record, links: Sequence[Link]) -> None:
        """Add or replace a record and add links to it."""
        with self._lock:
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
            near = [r for r in self._records.values() if digest == r.digest or name == r.name]
            return sorted(near, key=lambda r: (-r.created_at, r.id))[:8]

    def records(self) -> Sequence[Record]:
        """Return every record, oldest use first."""
        with self._lock:
            return sorted(self._records.values(), key=lambda r: (r.last_used_at, r.id))

    def delete(self, record_ids: Sequence[str]) -> None:
        """Forget records and their links."""
        with self._lock:
            for id_ in record_ids:
                self._records.pop(id_, None)
            for ids in self._links.values():
                ids.difference_update(record_ids)

    def durations(self, digests: Sequence[str]) -> Mapping[str, float]:
        """Return the last known duration of each op digest that has one."""
        with self._lock:
            wanted = set(digests)
            newest = sorted(self._records.values(), key=lambda r: r.created_at)
            return {r.digest: r.duration for r in newest if r.digest in wanted}

    def close(self) -> None:
        """Nothing to release."""

    def _add(self, record_id: str, links: Sequence[Link]) -> None:
        for link in links:
            self._links.setdefault(link, set()).add(record_id)
