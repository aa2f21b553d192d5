# SPDX-License-Identifier: Apache-2.0
"""Blocking work: named thread pools whose threads share a private mount namespace.

The first thread of a `Pools` copies the host's mount namespace (as a slave, so later host mounts are seen); the others
join it. What is mounted there is invisible to the host, and gone when the process is, however it ends.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import TypeVar

from llbkit.worker.host.syscalls import (
    CLONE_FS,
    CLONE_NEWNS,
    MS_REC,
    MS_SLAVE,
    enter_namespace,
    mount,
    unshare,
)

T = TypeVar("T")

_CANCELLER = "cancel"


class Cancelled(Exception):  # noqa: N818
    """Raised inside blocking work when its awaiting task was cancelled."""


class Token:
    """A `llbkit.worker.base.CancelToken`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    def check(self) -> None:
        """Raise `Cancelled` if the work is no longer wanted."""
        if self._cancelled:
            raise Cancelled

    def cancel(self) -> None:
        """Cancel the work; idempotent."""
        with self._lock:
            if self._cancelled:
                return
            self._cancelled = True
            callbacks = tuple(self._callbacks)
        for callback in callbacks:
            callback()

    @contextmanager
    def on_cancel(self, callback: Callable[[], None]) -> Iterator[None]:
        """While the context lasts, have ``callback`` called on cancellation; at once if it already happened."""
        with self._lock:
            self._callbacks.append(callback)
            already = self._cancelled
        try:
            if already:
                callback()
            yield
        finally:
            with self._lock:
                self._callbacks.remove(callback)


class Pools:
    """Thread pools by resource name (``exec``, ``disk``, ``net``, ``cpu``), started on first use."""

    def __init__(self, sizes: Mapping[str, int], *, private_mounts: bool) -> None:
        self._sizes = {**sizes, _CANCELLER: 1}
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._private_mounts = private_mounts
        self._namespace: int | None = None
        self._lock = threading.Lock()

    async def run(self, pool: str, work: Callable[[Token], T]) -> T:
        """Run ``work(token)`` on a thread of ``pool``, in the caller's context, and return its result.

        If the awaiting task is cancelled, the token is cancelled and the thread is waited for, so that when the
        cancellation goes on nothing of the work is left running.
        """
        token = Token()
        future = asyncio.get_running_loop().run_in_executor(
            self._executor(pool), copy_context().run, work, token
        )
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            # What cancels work may look at its mounts, so it too runs on a thread that sees them.
            self._executor(_CANCELLER).submit(token.cancel)
            await _drain(future)
            raise

    def run_sync(self, pool: str, work: Callable[[Token], T]) -> T:
        """Run ``work`` on a thread of ``pool`` from blocking code and return its result."""
        return self._executor(pool).submit(copy_context().run, work, Token()).result()

    def close(self) -> None:
        """Wait for all threads and drop the mount namespace."""
        for executor in self._pools.values():
            executor.shutdown(wait=True)
        self._pools.clear()
        if self._namespace is not None:
            os.close(self._namespace)
            self._namespace = None

    def _executor(self, pool: str) -> ThreadPoolExecutor:
        with self._lock:
            if pool not in self._pools:
                self._pools[pool] = ThreadPoolExecutor(
                    self._sizes[pool], thread_name_prefix=f"llbkit-{pool}", initializer=self._enter
                )
            return self._pools[pool]

    def _enter(self) -> None:
        if not self._private_mounts:
            return
        with self._lock:
            if self._namespace is None:
                private_mounts()
                self._namespace = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            else:
                with _staying_in_directory():
                    unshare(CLONE_FS)
                    enter_namespace(self._namespace, CLONE_NEWNS)


@contextmanager
def _staying_in_directory() -> Iterator[None]:
    """Keep the thread's working directory, which entering a mount namespace changes to the root."""
    try:
        directory = os.getcwd()
    except FileNotFoundError:  # it was removed: no relative path means anything
        yield
        return
    yield
    os.chdir(directory)


def private_mounts() -> None:
    """Give the calling thread a mount namespace of its own, a slave of the host's. Raises OSError."""
    unshare(CLONE_NEWNS | CLONE_FS)
    mount("none", "/", "", MS_REC | MS_SLAVE)


def can_mount() -> bool:
    """Return whether this process may make a private mount namespace (tried once, on a thread of its own)."""
    outcome: list[bool] = []

    def probe() -> None:
        try:
            unshare(CLONE_NEWNS | CLONE_FS)
        except OSError:
            outcome.append(False)
        else:
            outcome.append(True)

    thread = threading.Thread(target=probe)
    thread.start()
    thread.join()
    return outcome[0]


async def _drain(future: asyncio.Future[T]) -> None:
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue
    if not future.cancelled():
        future.exception()
