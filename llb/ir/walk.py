# SPDX-License-Identifier: Apache-2.0
"""Walking graphs without recursion: user-sized graphs are deeper than Python's stack."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


def postorder(roots: Iterable[T], inputs: Callable[[T], Iterable[T]]) -> list[T]:
    """Return everything reachable, each once, inputs before users, inputs in their order.

    ``inputs`` is asked once of each item, so the cost is linear in items and edges, also where one item has them all.

    Raises:
        ValueError: cycle in the graph.
    """
    done: dict[T, bool] = {}
    order: list[T] = []
    for root in roots:
        if root in done:
            continue
        done[root] = False
        stack: list[tuple[T, Iterator[T]]] = [(root, iter(inputs(root)))]
        while stack:
            item, rest = stack[-1]
            for child in rest:
                known = done.get(child)
                if known is None:
                    done[child] = False
                    stack.append((child, iter(inputs(child))))
                    break
                if not known:
                    raise ValueError("cycle in the graph")
            else:
                stack.pop()
                done[item] = True
                order.append(item)
    return order


@contextmanager
def no_garbage() -> Iterator[None]:
    """Do not look for garbage in cycles while the context lasts.

    For what makes many values that all stay and refer downwards only, as the ops and vertices of a graph and the
    instructions of a file do: there is no garbage to be found, and looking for it costs more the larger the graph has
    become (a third of decoding 100,000 vertices). Whatever else becomes garbage meanwhile, in any thread, is found afterwards. May be nested.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
