# SPDX-License-Identifier: Apache-2.0
"""Walking graphs without recursion: user-sized graphs are deeper than Python's stack."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def postorder(roots: Iterable[T], inputs: Callable[[T], Sequence[T]]) -> list[T]:
    """Return everything reachable, each once, inputs before users, inputs in their order.

    Raises:
        ValueError: there is a cycle.
    """
    done: dict[T, bool] = {}
    order: list[T] = []
    for root in roots:
        stack: list[tuple[T, int]] = [(root, 0)]
        while stack:
            item, position = stack.pop()
            if position == 0:
                if item in done:
                    if not done[item]:
                        raise ValueError("there is a cycle")
                    continue
                done[item] = False
            below = inputs(item)
            if position < len(below):
                stack.append((item, position + 1))
                child = below[position]
                if done.get(child) is False:
                    raise ValueError("there is a cycle")
                if child not in done:
                    stack.append((child, 0))
                continue
            done[item] = True
            order.append(item)
    return order
