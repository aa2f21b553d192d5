# SPDX-License-Identifier: Apache-2.0
"""The contract of `solver.ports.CacheStore`, run against every implementation."""

from __future__ import annotations

import threading

import pytest

from solver.cache.memory import MemoryStore
from solver.cache.sqlite import SQLiteStore
from solver.ports import Link, Record


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    made = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "cache.db")
    yield made
    made.close()


def record(name: str, *, created: float = 1.0, digest: str = "op", duration: float = 0.0) -> Record:
    return Record(
        id=name, digest=digest, tokens=(f"token-{name}", "x"), name=f"step {name}", ingredients={"a": [1, {"b": None}]},
        created_at=created, last_used_at=created, duration=duration,
    )  # fmt: skip


def test_a_record_is_found_through_some_key_of_every_input(store) -> None:
    store.store(record("r"), [Link("op", 0, "", "k1"), Link("op", 0, "", "k2"), Link("op", 1, "/sel", "k3")])
    assert store.find("op", [("", frozenset({"k2", "other"})), ("/sel", frozenset({"k3"}))]) == [record("r")]
    assert store.find("op", [("", frozenset({"k2"})), ("/other", frozenset({"k3"}))]) == []
    assert store.find("op", [("", frozenset({"k3"})), ("/sel", frozenset({"k3"}))]) == []
    assert store.find("another op", [("", frozenset({"k1"})), ("/sel", frozenset({"k3"}))]) == []


def test_a_record_without_inputs_is_found_by_its_op(store) -> None:
    store.store(record("r"), [Link("op", -1, "", "")])
    assert store.find("op", []) == [record("r")]


def test_newest_first(store) -> None:
    for name, created in (("old", 1.0), ("new", 3.0), ("middle", 2.0)):
        store.store(record(name, created=created), [Link("op", 0, "", "k")])
    assert [r.id for r in store.find("op", [("", frozenset({"k"}))])] == ["new", "middle", "old"]


def test_storing_again_replaces_the_record_and_its_links(store) -> None:
    """What the earlier result was made of says nothing about the later one."""
    store.store(record("r", created=1.0), [Link("op", 0, "", "old content"), Link("op", 0, "", "k")])
    store.store(record("r", created=2.0), [Link("op", 0, "", "new content"), Link("op", 0, "", "k")])
    assert store.find("op", [("", frozenset({"k"}))]) == [record("r", created=2.0)]
    assert store.find("op", [("", frozenset({"new content"}))]) == [record("r", created=2.0)]
    assert store.find("op", [("", frozenset({"old content"}))]) == []
    assert len(store.records()) == 1


def test_linked_asks_for_one_input_only(store) -> None:
    store.store(record("r"), [Link("op", 0, "", "a"), Link("op", 1, "", "b")])
    store.store(record("s"), [Link("op", 0, "", "a"), Link("op", 0, "/sel", "c")])
    assert store.linked("op", 0, "", frozenset({"a", "x"})) == {"r", "s"}
    assert store.linked("op", 1, "", frozenset({"b"})) == {"r"}
    assert store.linked("op", 0, "/sel", frozenset({"c"})) == {"s"}
    assert store.linked("op", 0, "", frozenset()) == frozenset()
    assert store.linked("other", 0, "", frozenset({"a"})) == frozenset()


def test_links_are_added_only_to_records_that_exist(store) -> None:
    store.store(record("r"), [Link("op", 0, "", "k")])
    store.link("r", [Link("op", 0, "", "k"), Link("op", 0, "", "l")])
    store.link("gone", [Link("op", 0, "", "m")])
    assert store.find("op", [("", frozenset({"l"}))]) == [record("r")]
    assert store.find("op", [("", frozenset({"m"}))]) == []


def test_touching_counts_and_orders(store) -> None:
    store.store(record("a"), [])
    store.store(record("b"), [])
    store.touch(["a", "gone"], 9.0)
    assert [(r.id, r.used, r.last_used_at) for r in store.records()] == [("b", 0, 1.0), ("a", 1, 9.0)]


def test_deleted_records_are_not_found(store) -> None:
    store.store(record("r"), [Link("op", 0, "", "k")])
    store.delete(["r", "gone"])
    assert store.find("op", [("", frozenset({"k"}))]) == []
    assert store.records() == []
    store.store(record("r"), [Link("op", 0, "", "new")])
    assert store.find("op", [("", frozenset({"k"}))]) == []


def test_nearest_has_the_same_name_or_op(store) -> None:
    store.store(record("r", digest="x"), [])
    store.store(record("s", digest="y"), [])
    assert [r.id for r in store.nearest("x", "nothing")] == ["r"]
    assert [r.id for r in store.nearest("nothing", "step s")] == ["s"]


def test_durations_are_the_newest(store) -> None:
    store.store(record("r", created=1.0, duration=5.0), [])
    store.store(record("s", created=2.0, duration=7.0), [])
    assert store.durations(["op", *(f"no{i}" for i in range(1200))]) == {"op": 7.0}


def test_threads_may_use_it_at_once(store) -> None:
    def work(number: int) -> None:
        for i in range(30):
            store.store(record(f"{number}-{i}"), [Link("op", 0, "", f"{number}")])
            store.find("op", [("", frozenset({f"{number}"}))])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.records()) == 120


def test_two_processes_see_each_other_and_what_was_stored_stays(tmp_path) -> None:
    first, second = SQLiteStore(tmp_path / "c.db"), SQLiteStore(tmp_path / "c.db")
    first.store(record("r"), [Link("op", 0, "", "k")])
    assert second.find("op", [("", frozenset({"k"}))]) == [record("r")]
    first.close()
    second.close()
    third = SQLiteStore(tmp_path / "c.db")
    assert third.records() == [record("r")]
    third.close()


def test_a_file_of_another_version_is_emptied(tmp_path) -> None:
    store = SQLiteStore(tmp_path / "c.db")
    store.store(record("r"), [])
    store._db.execute("PRAGMA user_version = 99")
    store.close()
    again = SQLiteStore(tmp_path / "c.db")
    assert again.records() == []
    again.close()
