# SPDX-License-Identifier: Apache-2.0
"""Disk usage of the state directory, and garbage collection.

Roots are the names of the image store, what living processes hold (`llbkit.worker.state.leases`), and the solver's records. A record
keeps the layers of its results and their blobs; pruning forgets records, least recently used first, then deletes what no
root reaches. Whatever happens in between, no root loses what it needs: rows go before files, and a layer or blob is looked
at and deleted in one transaction, in which no new lease can appear.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from typing import Literal, Protocol

from llbkit.records import dataclass
from llbkit.worker.content.store import ContentStore
from llbkit.worker.images import ImageStore
from llbkit.worker.snapshot.layers import LayerStore, layers_of
from llbkit.worker.sources.repositories import Repositories
from llbkit.worker.state.cachemounts import CacheMounts
from llbkit.worker.state.directory import StateDir
from llbkit.worker.state.usagefilter import compile_filters

Kind = Literal["layer", "blob", "download", "repository", "cache mount"]


class Record(Protocol):
    """The members used of `llbkit.solver.ports.Record`."""

    @property
    def id(self) -> str:
        """Names the record."""

    @property
    def tokens(self) -> Sequence[str]:
        """The tokens of its results."""

    @property
    def last_used_at(self) -> float:
        """Seconds since 1970."""

    @property
    def used(self) -> int:
        """How often it was found."""


class Records(Protocol):
    """The members used of `llbkit.solver.ports.CacheStore`."""

    def records(self) -> Sequence[Record]:
        """Return every record, oldest use first."""

    def delete(self, record_ids: Sequence[str], /) -> None:
        """Forget records."""


_EVERYTHING = 1 << 62
_TYPES: dict[Kind, str] = {
    "layer": "regular", "blob": "internal", "download": "internal", "repository": "source.git.checkout",
    "cache mount": "exec.cachemount",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One thing on disk, with what BuildKit's UsageRecord tells. ``size`` in bytes, times in seconds since 1970.

    ``reclaimable``: neither an image of the store nor a running build needs it, so pruning may remove it. ``in_use``: a
    running build holds it. ``shared``: an image of the store keeps it. ``parents``: the layers below it.
    """

    id: str
    kind: Kind
    size: int
    description: str
    created_at: float
    last_used_at: float
    reclaimable: bool
    in_use: bool = False
    shared: bool = False
    usage_count: int = 0
    parents: tuple[str, ...] = ()

    @property
    def mutable(self) -> bool:
        """Whether its content may change."""
        return self.kind in ("cache mount", "repository")

    @property
    def record_type(self) -> str:
        """BuildKit's name of its kind."""
        return _TYPES[self.kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneRequest:
    """What to remove.

    Attributes:
        cache_mounts: also cache mounts, which may have taken long to fill.
        unused_for: only what was not used for so many seconds.
        max_used: remove no more than is needed to get what can be removed down to so many bytes.
        min_free: remove no more than is needed to have so many bytes free on the disk; the stricter of the two counts.
        reserved: in any case leave so many bytes of what can be removed.
        filters: only what matches one of these (`llbkit.worker.state.usagefilter`).
    """

    cache_mounts: bool = False
    unused_for: float = 0.0
    max_used: int = 0
    min_free: int = 0
    reserved: int = 0
    filters: tuple[str, ...] = ()

    def excess(self, used: int, free: int) -> int:
        """Return how many bytes to remove, given what can be removed and what is free on the disk."""
        if not (self.max_used or self.min_free or self.reserved):
            return _EVERYTHING  # also what takes no space
        keep = used
        if self.max_used or not self.min_free:
            keep = self.max_used
        if self.min_free:
            keep = min(keep, used - max(0, self.min_free - free))
        return used - max(keep, self.reserved)


@dataclass(slots=True)
class _Use:
    """How records use a layer."""

    last: float = 0.0
    count: int = 0
    parents: dict[str, None] = field(default_factory=dict)


class GarbageCollector:
    """Measures and prunes one state directory. Blocking; safe alongside running builds of any process."""

    def __init__(
        self,
        *,
        state: StateDir,
        content: ContentStore,
        layers: LayerStore,
        images: ImageStore,
        caches: CacheMounts,
        repositories: Repositories,
        records: Records,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._state, self._content, self._layers = state, content, layers
        self._images, self._caches, self._repositories = images, caches, repositories
        self._records, self._clock = records, clock

    def usage(self, filters: Sequence[str] = ()) -> list[Usage]:
        """Return everything on disk that matches one of the filters, largest first.

        Raises:
            WorkerError: a filter is malformed.
        """
        self._state.lease.settle()
        with self._state.lease.working():
            return self._usage(compile_filters(filters))

    def _usage(self, matches: Callable[[Usage], bool]) -> list[Usage]:
        used = self._uses(self._records.records())
        found = [
            *self._layer_usage(used),
            *self._blob_usage(),
            *self._download_usage(),
            *self._repository_usage(),
            *self._cache_usage(),
        ]
        return sorted(filter(matches, found), key=lambda one: (-one.size, one.id))

    def prune(self, request: PruneRequest | None = None) -> list[Usage]:
        """Remove what ``request`` says (default: all that only caching needs); return what was removed.

        Raises:
            WorkerError: a filter is malformed.
        """
        with self._state.lease.working():
            return self._prune(request or PruneRequest())

    def _prune(self, request: PruneRequest) -> list[Usage]:
        matches = compile_filters(request.filters)
        before = self.usage()
        latest = self._clock() - request.unused_for
        reclaimable = [one for one in before if one.reclaimable]
        allowed = [one for one in reclaimable if one.last_used_at <= latest and matches(one)]
        excess = request.excess(sum(one.size for one in reclaimable), self._free())
        gone: set[tuple[Kind, str]] = set()
        removals = self._removals(cache_mounts=request.cache_mounts)
        for one in sorted(allowed, key=lambda one: one.last_used_at):
            if one.kind in removals and excess > 0 and removals[one.kind](one.id):
                excess -= one.size
                gone.add((one.kind, one.id))
        if excess > 0:
            self._forget_records(allowed, excess, latest)
            left_out = {(one.kind, one.id) for one in before if not matches(one)}
            gone |= {("layer", str(layer)) for layer in self._remove_layers(latest, left_out)}
            gone |= {("blob", digest) for digest in self._remove_blobs(latest, left_out)}
        self._layers.sweep()
        self._caches.sweep()
        return [one for one in before if (one.kind, one.id) in gone]

    # -- what there is

    def _free(self) -> int:
        status = os.statvfs(self._state.root)
        return status.f_bavail * status.f_frsize

    @staticmethod
    def _uses(records: Iterable[Record]) -> dict[int, _Use]:
        uses: dict[int, _Use] = {}
        for record in records:
            for token in record.tokens:
                layers = layers_of(token) or ()
                for position, layer in enumerate(layers):
                    use = uses.setdefault(layer, _Use())
                    use.last = max(use.last, record.last_used_at)
                    use.count += record.used
                    if position:
                        use.parents[str(layers[position - 1])] = None
        return uses

    def _layer_usage(self, uses: dict[int, _Use]) -> Iterable[Usage]:
        held = self._state.lease.layers()
        for info in self._layers.layers():
            use = uses.get(info.id) or _Use(last=info.created_at)
            yield Usage(
                id=str(info.id),
                kind="layer",
                size=self._layers.size(info.id),
                description=info.description or info.source,
                created_at=info.created_at,
                last_used_at=use.last,
                reclaimable=info.id not in held,
                in_use=info.id in held,
                usage_count=use.count,
                parents=tuple(use.parents),
            )

    def _blob_usage(self) -> Iterable[Usage]:
        named, held = self._images.roots(), self._state.lease.blobs()
        for digest in self._content.digests():
            try:
                status = self._content.path(digest).stat()
            except FileNotFoundError:
                continue  # another process prunes
            yield Usage(
                id=digest,
                kind="blob",
                size=status.st_size,
                description="used by a local image" if digest in named else "",
                created_at=status.st_mtime,
                last_used_at=status.st_mtime,
                reclaimable=digest not in named and digest not in held,
                in_use=digest in held,
                shared=digest in named,
            )

    def _download_usage(self) -> Iterable[Usage]:
        for digest, status in self._content.unfinished():
            yield Usage(
                id=digest,
                kind="download",
                size=status.st_size,
                description="unfinished download",
                created_at=status.st_mtime,
                last_used_at=status.st_mtime,
                reclaimable=True,
            )

    def _repository_usage(self) -> Iterable[Usage]:
        for info in self._repositories.list():
            yield Usage(
                id=info.key,
                kind="repository",
                size=info.size,
                description=info.remote,
                created_at=info.created_at,
                last_used_at=info.last_used_at,
                reclaimable=not info.in_use,
                in_use=info.in_use,
            )

    def _cache_usage(self) -> Iterable[Usage]:
        for info in self._caches.list():
            yield Usage(
                id=info.key,
                kind="cache mount",
                size=info.size,
                description=info.id,
                created_at=info.created_at,
                last_used_at=info.last_used_at,
                reclaimable=not info.in_use,
                in_use=info.in_use,
            )

    # -- removal

    def _removals(self, *, cache_mounts: bool) -> dict[Kind, Callable[[str], bool]]:
        """Return what removes a thing that nothing else needs, by its kind; each tells whether it is gone."""
        removals: dict[Kind, Callable[[str], bool]] = {
            "download": self._content.drop_unfinished,
            "repository": self._repositories.remove,
        }
        if cache_mounts:
            removals["cache mount"] = self._caches.remove
        return removals

    def _forget_records(self, allowed: Sequence[Usage], excess: int, latest: float) -> None:
        """Forget the records not used since ``latest``, oldest use first, until ``excess`` bytes become free."""
        sizes = {int(one.id): one.size for one in allowed if one.kind == "layer"}
        for layer in sizes:
            for descriptor in self._layers.info(layer).blobs:
                sizes[layer] += next((one.size for one in allowed if one.id == descriptor.digest), 0)
        records = self._records.records()
        needs = {
            record.id: {layer for token in record.tokens for layer in layers_of(token) or ()}
            for record in records
        }
        users = Counter(layer for layers in needs.values() for layer in layers)
        excess -= sum(size for layer, size in sizes.items() if layer not in users)
        forgotten = []
        for record in records:
            if excess <= 0 or record.last_used_at > latest:
                break
            if needs[record.id] and needs[record.id].isdisjoint(sizes):
                continue  # forgetting it would free nothing that was asked for
            forgotten.append(record.id)
            users.subtract(needs[record.id])
            excess -= sum(sizes.get(layer, 0) for layer in needs[record.id] if not users[layer])
        self._records.delete(forgotten)

    def _remove_layers(self, latest: float, left_out: set[tuple[Kind, str]]) -> list[int]:
        needed = self._uses(self._records.records())
        return self._layers.remove_unused(
            info.id
            for info in self._layers.layers()
            if info.id not in needed and info.created_at <= latest and ("layer", str(info.id)) not in left_out
        )

    def _remove_blobs(self, latest: float, left_out: set[tuple[Kind, str]]) -> list[str]:
        gone: list[str] | None = None
        while gone is None:
            names = self._names()
            kept = self._images.roots()
            kept |= {blob.digest for info in self._layers.layers() for blob in info.blobs}
            candidates = [
                one
                for one in self._content.digests()
                if one not in kept and ("blob", one) not in left_out and self._is_old(one, latest)
            ]
            with self._state.metadata.transaction() as db:
                held = self._state.lease.blobs(db)
                if names != self._names():
                    continue  # an image came meanwhile, and its process may have ended and hold nothing any more
                gone = [digest for digest in candidates if digest not in held]
                for digest in gone:
                    self._content.delete(digest)
        return gone

    def _names(self) -> list[tuple[object, ...]]:
        return [tuple(row) for row in self._state.metadata.query("SELECT name, descriptor FROM images")]

    def _is_old(self, digest: str, latest: float) -> bool:
        try:
            return self._content.path(digest).stat().st_mtime <= latest
        except FileNotFoundError:
            return False
