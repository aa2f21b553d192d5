# SPDX-License-Identifier: Apache-2.0
"""What vertices give: filesystems of few kinds, and the results that keep them.

Operations compute with a `Filesystem`: a snapshot, or a directory of the client that is read in place. `by_kind` is the one
place that tells the kinds apart. To the solver a filesystem is a `WorkerResult`, which holds a lease on its layers;
`LeasedOperation` stands between the two.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from llbkit.solver.ports import CacheMap, ContentKey, Result, Step
from llbkit.worker.base import SCRATCH, CancelToken, Snapshot, Snapshotter, StatusReport
from llbkit.worker.snapshot.layers import LayerStore
from llbkit.worker.state.leases import Lease, Leases

if TYPE_CHECKING:
    from llbkit.worker.fs.tree import Tree
    from llbkit.worker.sources.localtree import LocalTree

T = TypeVar("T")

Filesystem: TypeAlias = "Snapshot | LocalTree"

Ensure = Callable[[Snapshot, CancelToken, StatusReport], None]
"""Fetches and unpacks the layers of a snapshot, if they are not yet there."""


def by_kind(
    filesystem: Filesystem, *, snapshot: Callable[[Snapshot], T], local: Callable[[LocalTree], T]
) -> T:
    """Return what the function for the filesystem's kind makes of it.

    Raises:
        TypeError: not a filesystem of this worker.
    """
    if isinstance(filesystem, Snapshot):
        return snapshot(filesystem)
    from llbkit.worker.sources.localtree import LocalTree

    if isinstance(filesystem, LocalTree):
        return local(filesystem)
    raise TypeError(f"not a filesystem: {type(filesystem).__name__}")


def as_snapshot(filesystem: Filesystem) -> Snapshot:
    """Return a filesystem as a snapshot. Blocking: a local directory is copied, once."""
    return by_kind(filesystem, snapshot=lambda found: found, local=lambda tree: tree.materialize())


def quiet(identity: str, name: str, current: int, total: int, done: bool) -> None:
    """Ignore sub-progress: a `llbkit.worker.base.StatusReport`."""


class Views:
    """Shows filesystems. Blocking; needs the pools' namespace.

    Args:
        snapshotter: shows snapshots.
        ensure: fetches and unpacks their layers before.
    """

    def __init__(self, snapshotter: Snapshotter, ensure: Ensure) -> None:
        self._snapshotter, self._ensure = snapshotter, ensure

    def tree(
        self, filesystem: Filesystem, cancel: CancelToken, report: StatusReport = quiet
    ) -> AbstractContextManager[Tree]:
        """Show a filesystem as a tree; a local directory is read in place."""
        return by_kind(
            filesystem, snapshot=lambda found: self._tree(found, cancel, report), local=nullcontext
        )

    def directory(
        self, filesystem: Filesystem, cancel: CancelToken, report: StatusReport = quiet
    ) -> AbstractContextManager[Path]:
        """Show a filesystem as a directory that can be mounted."""
        return by_kind(
            filesystem,
            snapshot=lambda found: self._directory(found, cancel, report),
            local=lambda tree: tree.mountable(),
        )

    def unpacked(self, filesystem: Filesystem, cancel: CancelToken, report: StatusReport = quiet) -> Snapshot:
        """Return a filesystem as a snapshot whose layers are unpacked."""
        snapshot = as_snapshot(filesystem)
        self._ensure(snapshot, cancel, report)
        return snapshot

    @contextmanager
    def _tree(self, snapshot: Snapshot, cancel: CancelToken, report: StatusReport) -> Iterator[Tree]:
        from llbkit.worker.fs.tree import DirectoryTree

        with self._directory(snapshot, cancel, report) as path:
            yield DirectoryTree(os.fspath(path))

    @contextmanager
    def _directory(self, snapshot: Snapshot, cancel: CancelToken, report: StatusReport) -> Iterator[Path]:
        self._ensure(snapshot, cancel, report)
        with self._snapshotter.view(snapshot) as path:
            yield path


class ReleasedResultError(RuntimeError):
    """A result was used after it was released: what it was may be gone."""


class WorkerResult:
    """A `llbkit.solver.ports.Result`. Clones share a lease on the layers, which ends with the last of them.

    One that is garbage collected is as good as released.
    """

    __slots__ = ("_filesystem", "_lease", "_leases", "id")

    def __init__(self, id_: str, filesystem: Filesystem, leases: Leases, lease: Lease | None) -> None:
        self.id = id_
        self._filesystem: Filesystem | None = filesystem
        self._leases, self._lease = leases, lease

    @property
    def filesystem(self) -> Filesystem:
        """What it is. Raises ReleasedResultError."""
        if self._filesystem is None:
            raise ReleasedResultError(f"{self.id} was released")
        return self._filesystem

    def clone(self) -> WorkerResult:
        """Return one more handle on the same filesystem. Raises ReleasedResultError."""
        return WorkerResult(self.id, self.filesystem, self._leases, self._lease)

    def release(self) -> None:
        """Give the handle up; idempotent."""
        self._filesystem = self._lease = None
        self._leases.settle_if_idle()


def filesystem_of(result: Result | None) -> Filesystem:
    """Return the filesystem of a result of this worker; None is scratch.

    Raises:
        ReleasedResultError: it was released.
    """
    if result is None:
        return SCRATCH
    assert isinstance(result, WorkerResult), "a result of this worker"
    return result.filesystem


class Results:
    """Makes results of filesystems, and finds those of earlier processes."""

    def __init__(self, layers: LayerStore, leases: Leases) -> None:
        self._layers, self._leases = layers, leases
        self._trees = count(1)

    def hold(self, filesystem: Filesystem) -> WorkerResult:
        """Return a result that keeps a filesystem, whose layers are pinned now."""
        return by_kind(filesystem, snapshot=self._hold, local=self._local)

    def _hold(self, snapshot: Snapshot) -> WorkerResult:
        lease = self._leases.hold_layers(snapshot.layers)
        return WorkerResult(self._layers.to_token(snapshot), snapshot, self._leases, lease)

    def _local(self, tree: LocalTree) -> WorkerResult:
        return WorkerResult(f"local:{tree.name}:{next(self._trees)}", tree, self._leases, None)

    def save(self, result: Result) -> str | None:
        """Return the token of a snapshot; a local directory has none."""
        return self.token(filesystem_of(result))

    def token(self, filesystem: Filesystem) -> str | None:
        """Return the token of a filesystem, None if it has none."""
        return by_kind(filesystem, snapshot=self._layers.to_token, local=lambda _: None)

    def load(self, token: str) -> WorkerResult | None:
        """Return the snapshot of a token, or None if it is gone."""
        snapshot = self._layers.from_token(token)
        return None if snapshot is None else self._hold(snapshot)


class FilesystemOperation(Protocol):
    """What an operation does with filesystems; for the contract see `llbkit.solver.ports.Operation`."""

    @property
    def resources(self) -> Mapping[str, int]:
        """The named semaphores that `execute` needs."""

    async def cache_map(self, step: Step) -> CacheMap:
        """Return the vertex's own key."""

    async def content_key(self, index: int, value: Filesystem, step: Step) -> ContentKey | None:
        """Return what input ``index`` looks like from this vertex; None if unknown."""

    async def execute(self, inputs: Sequence[Filesystem], step: Step) -> Sequence[Filesystem]:
        """Do the work. Returns one filesystem for each output of the op."""


class LeasedOperation:
    """A `llbkit.solver.ports.Operation` of one that computes with filesystems.

    What is made is pinned by the lease of the execution (`Leases.working`) until it is a result.
    """

    def __init__(self, inner: FilesystemOperation, results: Results) -> None:
        self._inner, self._results = inner, results

    @property
    def resources(self) -> Mapping[str, int]:
        """The named semaphores that `execute` needs."""
        return self._inner.resources

    async def cache_map(self, step: Step) -> CacheMap:
        """Return the vertex's own key."""
        return await self._inner.cache_map(step)

    async def content_key(self, index: int, value: Result, step: Step) -> ContentKey | None:
        """Return what input ``index`` looks like from this vertex."""
        return await self._inner.content_key(index, filesystem_of(value), step)

    async def execute(self, inputs: Sequence[Result], step: Step) -> Sequence[Result]:
        """Do the work."""
        made = await self._inner.execute([filesystem_of(item) for item in inputs], step)
        return [self._results.hold(filesystem) for filesystem in made]
