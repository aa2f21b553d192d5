# SPDX-License-Identifier: Apache-2.0
"""Short-lived threads for work inside one blocking call.

A thread started here lives in the mount namespace of its starter, which a thread of a pool made earlier might not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from itertools import count
from typing import TypeVar

T = TypeVar("T")

_WORTH_IT = 64
_SMALL = 32 << 10


def threads_for(sizes: Collection[int]) -> int:
    """Return how many threads to read files of these sizes (bytes) with.

    Reading small files is mostly interpreter work, on which threads only get in each other's way.
    """
    return 2 if sum(sizes) > _SMALL * len(sizes) else 1


def in_threads(work: Callable[[T], None], items: Sequence[T], *, threads: int = 2) -> None:
    """Call ``work`` for every item, on several threads if there are enough of them; the caller is one of them.

    Raises:
        BaseException: the first failure; items after it may not have been worked on.
    """
    if len(items) < _WORTH_IT or threads < 2:
        for item in items:
            work(item)
        return
    # Neighbours stay on one thread: two that create files in one directory wait for each other.
    batch = max(16, min(1024, len(items) // (4 * threads)))
    failures: list[BaseException] = []
    ticket = count()  # next() on it is atomic under the interpreter lock

    def run() -> None:
        try:
            while not failures and (start := next(ticket) * batch) < len(items):
                for item in items[start : start + batch]:
                    work(item)
        except BaseException as error:  # handed to the caller below
            failures.append(error)

    others = [threading.Thread(target=run, name="llbkit-parallel") for _ in range(threads - 1)]
    for thread in others:
        thread.start()
    run()
    for thread in others:
        thread.join()
    if failures:
        raise failures[0]
