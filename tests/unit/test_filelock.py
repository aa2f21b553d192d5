# SPDX-License-Identifier: Apache-2.0
"""Locks of files and directories: one holder at a time, no waiting for ever, no lock on what is gone."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from llbkit.filelock import SHARED, locked, locked_directory, try_lock, try_lock_directory


def test_a_lock_has_one_holder_and_shared_ones_several(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first, second = try_lock(path, SHARED), try_lock(path, SHARED)
    assert first is not None
    assert second is not None
    assert try_lock(path) is None
    os.close(first)
    assert try_lock(path) is None
    os.close(second)
    with locked(path):
        assert try_lock(path, SHARED) is None


def test_who_waits_can_be_told_to_stop(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    asked = []

    def check() -> None:
        asked.append(True)
        if len(asked) == 3:
            raise StopError

    with locked(tmp_path / "lock"):
        with pytest.raises(StopError), locked(tmp_path / "lock", check):
            pytest.fail("two holders")
        with (
            pytest.raises(TimeoutError, match="held by another process"),
            locked(tmp_path / "lock", timeout=0),
        ):
            pytest.fail("two holders")


@pytest.mark.parametrize("make_again", [True, False])
def test_a_lock_is_that_of_the_file_at_the_path(tmp_path: Path, make_again: bool) -> None:
    """A waiter must not be content with the lock of a file that its holder removed."""
    path = tmp_path / "lock"
    waiting, entered = threading.Event(), threading.Event()
    seen = []

    def wait() -> None:
        with locked(path, waiting.set) as descriptor:
            seen.append(os.path.samestat(os.fstat(descriptor), path.stat()))
            entered.set()

    with locked(path):
        thread = threading.Thread(target=wait)
        thread.start()
        assert waiting.wait(60)
        path.unlink()
        if make_again:
            path.touch()
    assert entered.wait(60)
    thread.join()
    assert seen == [True]


def test_a_directory_is_locked_without_a_trace(tmp_path: Path) -> None:
    place = tmp_path / "layout"
    place.mkdir()
    with locked_directory(place):
        assert try_lock_directory(place) is None
        assert not list(place.iterdir())
    descriptor = try_lock_directory(place)
    assert descriptor is not None
    os.close(descriptor)
    with pytest.raises(NotADirectoryError):
        try_lock_directory(place.with_name("file").touch() or place.with_name("file"))
    with pytest.raises(FileNotFoundError), locked_directory(tmp_path / "gone"):
        pytest.fail("nothing is there")
