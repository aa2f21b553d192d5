# SPDX-License-Identifier: Apache-2.0
"""The threads that do blocking work."""

from __future__ import annotations

import os
import shutil

import pytest

from llbkit.worker.host.pools import Pools

pytestmark = pytest.mark.root


@pytest.fixture
def pools():
    made = Pools({"disk": 1, "net": 1}, private_mounts=True)
    yield made
    made.close()


def test_every_thread_works_in_the_process_directory(pools, tmp_path, monkeypatch) -> None:
    """Entering a mount namespace moves a thread to its root; relative paths must mean the same on all threads."""
    monkeypatch.chdir(tmp_path)
    assert [pools.run_sync(name, lambda _: os.getcwd()) for name in ("disk", "net")] == [str(tmp_path)] * 2


def test_threads_start_in_a_process_whose_directory_is_gone(pools, tmp_path, monkeypatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone")
    assert [pools.run_sync(name, lambda _: 1) for name in ("disk", "net")] == [1, 1]
