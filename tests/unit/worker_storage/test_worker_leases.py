# SPDX-License-Identifier: Apache-2.0
"""Leases: what is held, by whom, and for how long."""

from __future__ import annotations

import gc
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from llbkit.worker.base import Snapshot, StorageError
from llbkit.worker.host.pools import Pools
from llbkit.worker.results import ReleasedResultError, Results
from llbkit.worker.state.leases import Leases

pytestmark = pytest.mark.root


@pytest.fixture
def leases(storage) -> Leases:
    return storage.state.lease


def test_what_is_pinned_while_work_lasts_is_free_afterwards(leases) -> None:
    with leases.working():
        leases.pin_layers([1, 2])
        leases.pin_blob("sha256:a")
        with leases.working():
            leases.pin_layers([2, 3])
            assert leases.layers() == {1, 2, 3}
        assert leases.layers() == {1, 2}
        assert leases.blobs() == {"sha256:a"}
    assert leases.layers() == leases.blobs() == frozenset()


def test_outside_of_work_pins_last_as_long_as_the_process(leases) -> None:
    leases.pin_layers([1])
    with leases.working():
        leases.pin_layers([1, 2])
    assert leases.layers() == {1}
    leases.drop()
    assert leases.layers() == frozenset()


def test_a_lease_of_its_own_outlives_the_work_and_ends_with_its_last_reference(leases) -> None:
    with leases.working():
        leases.pin_layers([1])
        lease = leases.hold_layers([1, 2])
    assert leases.layers() == {1, 2}
    del lease
    gc.collect()
    leases.settle()
    assert leases.layers() == frozenset()


def test_a_lease_that_is_lost_in_a_cycle_is_found_by_the_garbage_collector(leases) -> None:
    class Knot:
        pass

    knot = Knot()
    knot.own, knot.lease = knot, leases.hold_layers([7])  # type: ignore[attr-defined]
    del knot
    gc.collect()
    leases.settle()
    assert leases.layers() == frozenset()


def test_threads_of_the_pools_work_for_the_task_that_waits(leases) -> None:
    pools = Pools({"disk": 1}, private_mounts=False)
    with leases.working():
        pools.run_sync("disk", lambda _: leases.pin_layers([5]))
        assert leases.layers() == {5}
    assert leases.layers() == frozenset()
    pools.close()


def test_work_that_fails_is_reported_as_itself_and_its_pins_are_given_up(leases) -> None:
    def work() -> None:
        with leases.working():
            leases.pin_layers([1])
            raise ValueError("why")

    with pytest.raises(ValueError, match="why"):
        work()
    assert leases.layers() == frozenset()


def test_what_a_transaction_pinned_is_free_if_it_fails(leases) -> None:
    def attempt() -> None:
        with leases.transaction() as (_, pin):
            pin(9)
            raise sqlite3.OperationalError("disk I/O error")

    with leases.working():
        with pytest.raises((StorageError, sqlite3.Error)):
            attempt()
        leases.pin_layers([9])  # in the table this time
        assert leases.layers() == {9}
    assert leases.layers() == frozenset()


def test_rows_that_could_not_be_removed_are_removed_later(leases, monkeypatch) -> None:
    lease = leases.hold_layers([1])
    other = sqlite3.connect(leases._db._path, isolation_level=None)
    leases._db.connection().execute("PRAGMA busy_timeout = 1")
    other.execute("BEGIN IMMEDIATE")
    lease.release()
    with pytest.raises(StorageError):
        leases.settle()
    other.execute("ROLLBACK")
    other.close()
    again = leases.hold_layers([1])
    leases.settle()
    assert leases.layers() == {1}
    again.release()
    leases.settle()
    assert leases.layers() == frozenset()


def test_another_process_sees_one_row_however_many_hold(storage, helpers) -> None:
    leases = storage.state.lease
    first, second = leases.hold_layers([1]), leases.hold_layers([1])
    other = helpers.Storage(storage.state.root)
    assert other.state.lease.layers() == {1}
    first.release()
    leases.settle()
    assert other.state.lease.layers() == {1}
    second.release()
    leases.settle()
    assert other.state.lease.layers() == frozenset()
    other.close()


def test_rows_and_holders_agree_whatever_threads_do(leases) -> None:
    """No target that somebody holds is ever without a row."""
    missing: list[int] = []

    def work(seed: int) -> None:
        random = Random(seed)
        held: list[tuple[list[int], object]] = []
        for _ in range(60):
            if held and random.random() < 0.5:
                held.pop(random.randrange(len(held)))[1].release()  # type: ignore[attr-defined]
            else:
                wanted = random.sample(range(6), 2)
                held.append((wanted, leases.hold_layers(wanted)))
            if random.random() < 0.5:
                leases.settle()
            rows = leases.layers()
            missing.extend(layer for layers, _ in held for layer in layers if layer not in rows)

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(work, seed) for seed in range(4)]:
            done.result()
    gc.collect()
    leases.settle()
    assert missing == []
    assert leases.layers() == frozenset()


def test_a_released_result_says_so_and_its_clone_keeps_the_layers(storage) -> None:
    results = Results(storage.layers, storage.state.lease)
    with storage.state.lease.working():
        snapshot = Snapshot((storage.adopted("a"),))
        first = results.hold(snapshot)
    second = first.clone()
    assert first.id == second.id == storage.layers.to_token(snapshot)
    first.release()
    first.release()
    with pytest.raises(ReleasedResultError):
        first.clone()
    assert storage.layers.remove_unused(snapshot.layers) == []
    second.release()
    assert storage.layers.remove_unused(snapshot.layers) == list(snapshot.layers)
    assert results.load(f"layers:{snapshot.layers[0]}") is None


def test_a_thread_of_its_own_does_not_pin_for_the_work_that_started_it(leases) -> None:
    with leases.working():
        thread = threading.Thread(target=lambda: leases.pin_layers([3]))
        thread.start()
        thread.join()
    assert leases.layers() == {3}
