# SPDX-License-Identifier: Apache-2.0
"""Where moved directories are: as if every move were applied in turn, in work that is linear."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llbkit.worker.content.moves import Moves

PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join)


def in_turn(path: str, moves: list[tuple[str, str]]) -> str:
    for old, new in moves:
        if path == old or path.startswith(old + "/"):
            path = (new + path[len(old) :]).lstrip("/")
    return path


def calls_of(action: Callable[[], object]) -> int:
    """Count the calls, those of methods of C among them, that an action makes."""
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


def located(moves: list[tuple[str, str]], paths: list[str]) -> list[str]:
    made = Moves()
    for move in moves:
        made.add(*move)
    return [made.locate(path) for path in paths]


@given(st.lists(st.tuples(PATHS, PATHS | st.just("")), max_size=6, unique_by=lambda move: move[0]), PATHS)
def test_moves_are_applied_in_turn(moves: list[tuple[str, str]], path: str) -> None:
    assert located(moves, [path]) == [in_turn(path, moves)]


def test_work_does_not_grow_with_other_moves() -> None:
    def work(count: int) -> int:
        moves = [(f"old{number}", f"new{number}") for number in range(count)]
        return calls_of(lambda: located(moves, [f"old{number}/x" for number in range(count)]))

    assert work(400) < 2.1 * work(200)


def test_work_is_linear_in_the_length_of_a_path() -> None:
    def work(depth: int) -> int:
        path = "/".join(["d"] * depth)
        return calls_of(lambda: located([(path, "t")], [path + "/x"]))

    assert work(800) < 2.1 * work(400)


def test_a_path_is_not_moved_without_end() -> None:
    moves = [(f"d{number}", f"d{number + 1}") for number in range(300)]
    assert located(moves, ["d45/x"]) == ["d300/x"]
    with pytest.raises(OSError, match="symbolic links"):
        located(moves, ["d44/x"])
