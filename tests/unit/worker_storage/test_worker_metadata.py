# SPDX-License-Identifier: Apache-2.0
"""The database: transactions, schemas, many threads and processes, damage."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from llbkit.solver.cache.damage import DamagedRowError
from llbkit.worker.base import StorageError
from llbkit.worker.state.metadata import DamagedDatabaseError, Metadata

COUNT = """
import sys
from pathlib import Path
from llbkit.worker.state.metadata import Metadata
db = Metadata(Path(sys.argv[1]))
db.register("counter", 1, "CREATE TABLE counter (value INTEGER); INSERT INTO counter VALUES (0)")
for _ in range(50):
    with db.transaction() as tx:
        value = tx.execute("SELECT value FROM counter").fetchone()[0]
        tx.execute("UPDATE counter SET value = ?", (value + 1,))
db.close()
"""


@pytest.fixture
def db(tmp_path):
    made = Metadata(tmp_path / "db")
    yield made
    made.close()


def test_a_failing_block_changes_nothing(db) -> None:
    db.register("t", 1, "CREATE TABLE t (x INTEGER)")

    def fail() -> None:
        with db.transaction() as tx:
            tx.execute("INSERT INTO t VALUES (1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert db.query("SELECT * FROM t") == []
    with db.transaction() as tx:
        tx.execute("INSERT INTO t VALUES (2)")
    assert db.query("SELECT x FROM t") == [(2,)]


def test_a_schema_is_made_once_and_a_new_version_beside_it(db) -> None:
    db.register("t", 1, "CREATE TABLE t (x INTEGER)")
    db.register("t", 1, "CREATE TABLE t (x INTEGER)")
    db.register("t", 2, "CREATE TABLE t2 (x INTEGER)")
    assert db.query("SELECT * FROM t") == db.query("SELECT * FROM t2") == []


def test_a_schema_that_fails_is_not_taken_for_made(db) -> None:
    with pytest.raises(Exception, match="syntax"):
        db.register("t", 1, "CREATE TABLE t (x INTEGER); CREATE NONSENSE")
    db.register("t", 1, "CREATE TABLE t (x INTEGER)")
    assert db.query("SELECT * FROM t") == []


def test_processes_that_start_together_share_one_database(tmp_path) -> None:
    workers = [
        subprocess.Popen([sys.executable, "-c", COUNT, str(tmp_path / "db")], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    errors = [worker.communicate()[1].decode() for worker in workers]
    assert errors == [""] * 4
    db = Metadata(tmp_path / "db")
    assert db.query("SELECT value FROM counter") == [(200,)]
    db.close()


def test_connections_end_with_their_threads(db) -> None:
    db.register("t", 1, "CREATE TABLE t (x INTEGER)")

    def opened() -> int:
        thread = threading.Thread(target=lambda: db.query("SELECT * FROM t"))
        thread.start()
        thread.join()
        return len(os.listdir("/proc/self/fd"))

    first = opened()
    assert max(opened() for _ in range(20)) <= first


def test_a_damaged_file_is_reported_with_a_way_out(tmp_path) -> None:
    (tmp_path / "db").write_bytes(b"this is no database" * 100)
    db = Metadata(tmp_path / "db")
    with pytest.raises(StorageError) as caught:
        db.register("t", 1, "CREATE TABLE t (x INTEGER)")
    assert caught.value.help
    db.close()


def test_damage_found_late_does_not_move_the_file_of_another_process_aside(tmp_path) -> None:
    said: list[str] = []
    path = tmp_path / "db"
    first, second = Metadata(path, said.append), Metadata(path, said.append)
    for db in (first, second):
        db.register("t", 1, "CREATE TABLE t (x INTEGER)")
    for db in (first, second):
        with pytest.raises(DamagedDatabaseError), db.transaction():
            raise DamagedRowError("no such row was ever written")
        if db is first:
            new = Metadata(path)
            new.register("t", 1, "CREATE TABLE t (x INTEGER); INSERT INTO t VALUES (7)")
    assert len(said) == 1
    assert new.query("SELECT x FROM t") == [(7,)]
    for db in (first, second, new):
        db.close()
    again = Metadata(path)
    assert again.query("SELECT x FROM t") == [(7,)]
    again.close()


def test_threads_of_one_object_never_read_two_files(tmp_path) -> None:
    """A thread that first asks after another process has begun anew is told so, as the others are."""
    path = tmp_path / "db"
    db, other = Metadata(path), Metadata(path)
    for each in (db, other):
        each.register("t", 1, "CREATE TABLE t (x INTEGER)")
    with pytest.raises(DamagedDatabaseError), other.transaction():
        raise DamagedRowError("no such row was ever written")
    new = Metadata(path)
    new.register("t", 1, "CREATE TABLE t (x INTEGER)")
    with ThreadPoolExecutor(1) as pool, pytest.raises(DamagedDatabaseError):
        pool.submit(db.query, "SELECT x FROM t").result()
    assert db.damaged
    for each in (db, other, new):
        each.close()
