# SPDX-License-Identifier: Apache-2.0
"""Materialize lazy layers: fetch, unpack, verify, and move into place.

Each layer is worked on under its own lock, by one thread of one process; who comes later finds it done. Whoever holds a
layer's lock waits for that layer's parents only, so there is no deadlock.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from contextvars import copy_context
from pathlib import Path

from llbkit.worker.archive.compress import CompressionError, Decompressed
from llbkit.worker.archive.tarread import TarError, TarReader
from llbkit.worker.base import CancelToken, Fetch, SourceError, StatusReport
from llbkit.worker.content.deferred import complete
from llbkit.worker.content.store import ContentStore
from llbkit.worker.fs.descent import remove_tree
from llbkit.worker.host.pools import Cancelled
from llbkit.worker.oci import Descriptor
from llbkit.worker.snapshot.apply import DISK_ERRORS, Deferred, Unpacker
from llbkit.worker.snapshot.table import LayerTable
from llbkit.worker.state.directory import StateDir

_PARALLEL = 4
_STEP = 4 << 20  # bytes between two reports


class Extraction:
    """One call of `LayerStore.ensure`.

    Args:
        place: puts a complete directory under its layer's number.
    """

    def __init__(
        self,
        *,
        state: StateDir,
        content: ContentStore,
        table: LayerTable,
        fetch: Fetch,
        place: Callable[[int, Path], None],
        path: Callable[[int], Path],
        cancel: CancelToken,
        report: StatusReport | None,
    ) -> None:
        self._state, self._content, self._table = state, content, table
        self._fetch, self._place, self._path = fetch, place, path
        self._cancel = _Linked(cancel)
        self._report = report

    def run(self, layers: Sequence[int]) -> None:
        """Bring these layers in, several at a time. The first failure stops the others.

        Raises:
            SourceError: a blob cannot be fetched or is damaged.
            OSError: writing failed.
        """
        if len(layers) == 1:
            self._one(layers[0])
            return
        failures: list[BaseException] = []

        def guarded(layer: int) -> None:
            try:
                self._one(layer)
            except BaseException as error:  # handed to the caller below
                failures.append(error)
                self._cancel.stop()

        with ThreadPoolExecutor(min(_PARALLEL, len(layers)), thread_name_prefix="llbkit-unpack") as pool:
            for layer in layers:
                pool.submit(copy_context().run, guarded, layer)
        if failures:
            raise failures[0]

    def _one(self, layer: int) -> None:
        self._cancel.check()
        with self._state.lock(f"layer-{layer}", self._cancel):
            if self._table.unpacked(layer):
                return
            target = self._state.layers / f".{self._state.owner}.{layer}.{secrets.token_hex(4)}"
            try:
                deferred = self._unpack(layer, target)
                if deferred:
                    self._complete(layer, target, deferred)
                self._place(layer, target)
            except BaseException:
                remove_tree(target)
                raise
            self._table.set_unpacked(layer)

    def _complete(self, layer: int, target: Path, deferred: Deferred) -> None:
        parents = self._table.parents(layer)
        for parent in reversed(parents):
            if not self._table.unpacked(parent):
                self._one(parent)
        try:
            complete(target, deferred, [self._path(parent) for parent in parents])
        except (TarError, OSError) as error:
            if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                raise
            info = self._table.info(layer)
            raise damaged(info.blobs[0].digest, error, info.source) from error

    def _unpack(self, layer: int, target: Path) -> Deferred:
        info = self._table.info(layer)
        descriptor = info.blobs[0]
        for last in (False, True):
            if not self._content.exists(descriptor.digest):
                name = f"downloading {descriptor.digest}"
                progress = self._progress(name, "downloading")
                self._fetch(descriptor, info.source, self._cancel, progress)
                self._done(name, "downloading", descriptor.size)
            self._cancel.check()
            target.mkdir()
            try:
                return self._extract(descriptor, info.diff_id, target)
            except (TarError, CompressionError) as error:
                # A blob that was damaged on this disk can be fetched again; one that came like this cannot be helped.
                if last or not self._content.discard_damaged(descriptor.digest):
                    raise damaged(descriptor.digest, error, info.source) from error
                remove_tree(target)
        raise AssertionError("the second round returns or raises")

    def _extract(self, descriptor: Descriptor, diff_id: str, target: Path) -> Deferred:
        name = f"extracting {descriptor.digest}"
        with (
            self._content.open(descriptor.digest) as blob,
            Decompressed(blob, self._extracting(name, descriptor.size)) as stream,
        ):
            deferred = Unpacker(target, self._cancel).unpack(TarReader(stream.read))
            while stream.read(_STEP):  # what is behind the end of the tar counts for the digest
                self._cancel.check()
            digest = stream.digest
        if diff_id and digest != diff_id:
            raise TarError(f"unexpected digest {digest}, want {diff_id}")
        self._done(name, "extracting", descriptor.size)
        return deferred

    def _extracting(self, name: str, total: int) -> Callable[[int], None] | None:
        progress = self._progress(name, "extracting")
        return None if progress is None else lambda position: progress(position, total)

    def _progress(self, name: str, action: str) -> Callable[[int, int], None] | None:
        report = self._report
        if report is None:
            return None
        shown = 0

        def progress(position: int, total: int) -> None:
            nonlocal shown
            if position - shown > _STEP:
                shown = position
                report(name, action, position, total, False)

        return progress

    def _done(self, name: str, action: str, size: int) -> None:
        if self._report is not None:
            self._report(name, action, size, size, True)


def damaged(digest: str, error: Exception, source: str = "") -> SourceError:
    """Return the error for a layer, of the image ``source`` if that is known, whose blob cannot be used."""
    image = source.partition("://")[2].partition("?")[0]
    reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return SourceError(
        f"the layer {digest}{image and f' of {image}'} is damaged: {reason}",
        help="push the image again or use another one",
    )


class _Linked:
    """A `CancelToken` that can also be stopped by a failing neighbour."""

    def __init__(self, outer: CancelToken) -> None:
        self._outer = outer
        self._stopped = threading.Event()

    @property
    def cancelled(self) -> bool:
        return self._outer.cancelled or self._stopped.is_set()

    def check(self) -> None:
        self._outer.check()
        if self._stopped.is_set():
            raise Cancelled

    def stop(self) -> None:
        self._stopped.set()

    def on_cancel(self, callback: Callable[[], None]) -> AbstractContextManager[None]:
        return self._outer.on_cancel(callback)
