# SPDX-License-Identifier: Apache-2.0
"""The worker's types and the interfaces between its parts.

Threads: everything below ``worker/ops`` is synchronous and thread-safe, and runs on a thread of `llbkit.worker.host.pools.Pools`
(whose threads live in one private mount namespace, so mounts die with the process). Only operations are ``async``.

Layers: a *layer* is an immutable directory in overlayfs upper format (whiteouts are 0/0 character devices, opaque
directories carry ``trusted.overlay.opaque=y``), known by a number. A *snapshot* is a stack of layers, bottom first.
So merging is concatenation, a diff against a prefix is the rest of the stack, and an image's layers unpack in parallel.
A layer may be *lazy*: its blob is known but not fetched or unpacked until somebody needs the files.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, Protocol

from llbkit.records import dataclass
from llbkit.worker.oci import Descriptor

Compression = Literal["uncompressed", "gzip", "zstd"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An immutable root filesystem: layer numbers, bottom first. No layers is scratch."""

    layers: tuple[int, ...] = ()


SCRATCH = Snapshot()


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerInfo:
    """What is known about a layer. ``size`` is in bytes on disk, -1 while lazy; ``diff_id`` "" until computed."""

    id: int
    diff_id: str
    chain_id: str
    size: int
    unpacked: bool
    description: str = ""
    created_at: float = 0.0
    blobs: tuple[Descriptor, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerBlob:
    """A layer as it is exported: the blob in the content store and the digest of its uncompressed tar."""

    descriptor: Descriptor
    diff_id: str


class ActiveSnapshot(Protocol):
    """A writable filesystem on top of a snapshot, from `Snapshotter.prepare`."""

    @property
    def path(self) -> Path:
        """Where it is mounted (in the pools' mount namespace)."""

    def commit(self, description: str = "") -> Snapshot:
        """Make the changes an immutable layer and return the grown stack. Call once; unmounts.

        A layer is added even if nothing changed: what is exported must not depend on luck. It holds changes only: a file
        that was copied up, or written again, and is as it was is not in it, nor is a directory of which only the time
        differs.
        """


class Snapshotter(Protocol):
    """Turns stacks of layers into directories. Layers must be unpacked (`LayerStore.ensure`) before."""

    @property
    def name(self) -> str:
        """``overlay`` or ``native``."""

    def view(self, snapshot: Snapshot) -> AbstractContextManager[Path]:
        """Show a snapshot read-only."""

    def prepare(self, snapshot: Snapshot) -> AbstractContextManager[ActiveSnapshot]:
        """Make a writable filesystem; leaving the context without `commit` throws the changes away."""


class CancelToken(Protocol):
    """Tells blocking code that its result is no longer wanted."""

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""

    def check(self) -> None:
        """Raise `llbkit.worker.host.pools.Cancelled` if cancelled."""

    def on_cancel(self, callback: Callable[[], None]) -> AbstractContextManager[None]:
        """While the context lasts, call ``callback`` (from another thread) on cancellation, at once if it was."""


Fetch = Callable[[Descriptor, str, CancelToken, Callable[[int, int], None] | None], None]
"""``fetch(descriptor, source, cancel, progress)`` brings a blob of ``source`` (an identifier such as ``docker-image://...``)
into the content store. Blocking; verified. ``progress(current, total)`` reports bytes."""

StatusReport = Callable[[str, str, int, int, bool], None]
"""``report(id, name, current, total, done)``: sub-progress, as `llbkit.solver.ports.Step.status`."""


class WorkerError(Exception):
    """Base of what a worker reports to users. ``help`` is the next step; ``exit_code`` is set by a failed process.

    ``part`` is the number of the file action that failed, None if it was none.

    Tree: ExecError (a process failed), SourceError (something could not be fetched), FileOpError, StorageError (disk
    full, damaged state), EnvironmentLackError (the host lacks something; the CLI exits with 3).
    """

    def __init__(self, message: str, *, help: str = "") -> None:  # noqa: A002
        super().__init__(message)
        self.help = help
        self.part: int | None = None


class ExecError(WorkerError):
    """A process did not end with a valid exit code. ``output`` is the end of what it wrote, at most 16 KiB."""

    def __init__(self, message: str, *, exit_code: int, output: bytes = b"", help: str = "") -> None:  # noqa: A002
        super().__init__(message, help=help)
        self.exit_code = exit_code
        self.output = output


class SourceError(WorkerError):
    """An image, repository, file or directory could not be read."""


class FileOpError(WorkerError):
    """A file action failed."""


class StorageError(WorkerError):
    """The state directory cannot be used: full, read-only, damaged."""


class EnvironmentLackError(WorkerError):
    """The host lacks something that the build needs."""
