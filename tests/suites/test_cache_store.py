# SPDX-License-Identifier: Apache-2.0
"""The contract of `llbkit.solver.ports.CacheStore`, run against every implementation."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from llbkit.solver.cache.damage import guarded
from llbkit.solver.cache.memory import MemoryStore
from llbkit.solver.cache.sqlite import SQLiteStore
from llbkit.solver.keys import common
from llbkit.solver.ports import CacheStore, Link, Record


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


def linked(store: CacheStore, digest: str, index: int, selector: str, keys: frozenset[str]) -> frozenset[str]:
    """Return the records linked to one input through one of some keys."""
    return frozenset().union(*store.linked([Link(digest, index, selector, key) for key in sorted(keys)]))


def find(store: CacheStore, digest: str, inputs: Sequence[tuple[str, frozenset[str]]]) -> Sequence[Record]:
    """Return the records linked through some key of every input, newest first, as a lookup does."""
    links = [
        Link(digest, i, selector, key) for i, (selector, keys) in enumerate(inputs) for key in sorted(keys)
    ]
    links = links if inputs else [Link(digest, -1, "", "")]
    return store.select(common(links, store.linked(links)))


def test_a_record_is_found_through_some_key_of_every_input(store) -> None:
    store.store(record("r"), [Link("op", 0, "", "k1"), Link("op", 0, "", "k2"), Link("op", 1, "/sel", "k3")])
    assert find(store, "op", [("", frozenset({"k2", "other"})), ("/sel", frozenset({"k3"}))]) == [record("r")]
    assert find(store, "op", [("", frozenset({"k2"})), ("/other", frozenset({"k3"}))]) == []
    assert find(store, "op", [("", frozenset({"k3"})), ("/sel", frozenset({"k3"}))]) == []
    assert find(store, "another op", [("", frozenset({"k1"})), ("/sel", frozenset({"k3"}))]) == []


def test_a_record_without_inputs_is_found_by_its_op(store) -> None:
    store.store(record("r"), [Link("op", -1, "", "")])
    assert find(store, "op", []) == [record("r")]


def test_newest_first(store) -> None:
    for name, created in (("old", 1.0), ("new", 3.0), ("middle", 2.0)):
        store.store(record(name, created=created), [Link("op", 0, "", "k")])
    assert [r.id for r in find(store, "op", [("", frozenset({"k"}))])] == ["new", "middle", "old"]


def test_storing_again_replaces_the_record_and_its_links(store) -> None:
    """What the earlier result was made of says nothing about the later one."""
    store.store(record("r", created=1.0), [Link("op", 0, "", "old content"), Link("op", 0, "", "k")])
    store.store(record("r", created=2.0), [Link("op", 0, "", "new content"), Link("op", 0, "", "k")])
    assert find(store, "op", [("", frozenset({"k"}))]) == [record("r", created=2.0)]
    assert find(store, "op", [("", frozenset({"new content"}))]) == [record("r", created=2.0)]
    assert find(store, "op", [("", frozenset({"old content"}))]) == []
    assert len(store.records()) == 1


def test_linked_asks_for_one_input_only(store) -> None:
    store.store(record("r"), [Link("op", 0, "", "a"), Link("op", 1, "", "b")])
    store.store(record("s"), [Link("op", 0, "", "a"), Link("op", 0, "/sel", "c")])
    assert linked(store, "op", 0, "", frozenset({"a", "x"})) == {"r", "s"}
    assert linked(store, "op", 1, "", frozenset({"b"})) == {"r"}
    assert linked(store, "op", 0, "/sel", frozenset({"c"})) == {"s"}
    assert linked(store, "op", 0, "", frozenset()) == frozenset()
    assert linked(store, "other", 0, "", frozenset({"a"})) == frozenset()


def test_links_are_added_only_to_records_that_exist(store) -> None:
    store.store(record("r"), [Link("op", 0, "", "k")])
    store.link("r", [Link("op", 0, "", "k"), Link("op", 0, "", "l")])
    store.link("gone", [Link("op", 0, "", "m")])
    assert find(store, "op", [("", frozenset({"l"}))]) == [record("r")]
    assert find(store, "op", [("", frozenset({"m"}))]) == []


def test_touching_counts_and_orders(store) -> None:
    store.store(record("a"), [])
    store.store(record("b"), [])
    store.touch(["a", "gone"], 9.0)
    assert [(r.id, r.used, r.last_used_at) for r in store.records()] == [("b", 0, 1.0), ("a", 1, 9.0)]


def test_deleted_records_are_not_found(store) -> None:
    store.store(record("r"), [Link("op", 0, "", "k")])
    store.delete(["r", "gone"])
    assert find(store, "op", [("", frozenset({"k"}))]) == []
    assert store.records() == []
    store.store(record("r"), [Link("op", 0, "", "new")])
    assert find(store, "op", [("", frozenset({"k"}))]) == []


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
            find(store, "op", [("", frozenset({f"{number}"}))])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.records()) == 120


def test_times_names_and_ingredients_come_back_as_they_were(store) -> None:
    kept = Record(
        id="é", digest="d", tokens=("", "t\n"), name="RUN echo 'ü'", ingredients={"op": {"env": ["A=1"], "n": 1.5}},
        created_at=1700000000.123456, last_used_at=1700000001.5, used=3, duration=0.25,
    )  # fmt: skip
    store.store(kept, [])
    assert store.records() == [kept]


def test_nearest_is_a_handful_newest_first(store) -> None:
    for index in range(30):
        store.store(record(f"r{index:02}", created=float(index), digest="x" if index % 2 else "y"), [])
    found = [r.id for r in store.nearest("x", "step r28")]
    assert found == ["r29", "r28", "r27", "r25", "r23", "r21", "r19", "r17"]


def test_of_equal_age_the_order_is_the_same_everywhere(store) -> None:
    for name in ("b", "c", "a"):
        store.store(record(name), [Link("op", -1, "", "")])
    assert [r.id for r in find(store, "op", [])] == ["a", "b", "c"]
    assert [r.id for r in store.records()] == ["a", "b", "c"]


def test_many_inputs_and_many_records(store) -> None:
    links = [Link("op", index, "", f"k{index}") for index in range(300)]
    store.store(record("wide"), links)
    for index in range(1200):
        store.store(record(f"r{index}"), [Link("op", 0, "", "k0")])
    inputs = [("", frozenset({f"k{index}", "other"})) for index in range(300)]
    assert find(store, "op", inputs) == [record("wide")]
    assert len(find(store, "op", inputs[:1])) == 1201
    assert len(linked(store, "op", 0, "", frozenset({"k0"}))) == 1201


# -- SQLite only


_WRITER = """
import sys
from pathlib import Path
from llbkit.solver.cache.sqlite import SQLiteStore
from llbkit.solver.ports import Link, Record

store = SQLiteStore(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    id_ = f"{sys.argv[2]}-{number}"
    store.store(
        Record(id=id_, digest="op", tokens=("t",), name="n", ingredients={}, created_at=number, last_used_at=number),
        [Link("op", 0, "", "shared"), Link("op", 1, "", id_)],
    )
    print(number, flush=True)
store.close()
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path), name, str(count)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_processes_may_create_and_write_it_at_once(tmp_path) -> None:
    path = tmp_path / "c.db"
    writers = [writer(path, f"w{index}", 25) for index in range(4)]
    for one in writers:
        assert one.communicate("go\n", timeout=60)[0].splitlines()[0] == "open"
        assert one.returncode == 0
    store = SQLiteStore(path)
    assert len(store.records()) == 100
    assert len(linked(store, "op", 0, "", frozenset({"shared"}))) == 100
    store.close()


def test_being_killed_loses_nothing_that_was_stored(tmp_path) -> None:
    path = tmp_path / "c.db"
    victim = writer(path, "w", 1_000_000)
    assert victim.stdin is not None
    assert victim.stdout is not None
    victim.stdin.write("go\n")
    victim.stdin.flush()
    told = -1
    for line in victim.stdout:
        told = int(line) if line != "open\n" else told
        if told >= 50:
            break
    victim.kill()
    victim.stdout.close()
    victim.stdin.close()
    victim.wait(60)
    store = SQLiteStore(path)
    kept = {r.id for r in store.records()}
    assert kept.issuperset(f"w-{number}" for number in range(told + 1))
    # A record is there with all its links, or not at all.
    assert linked(store, "op", 0, "", frozenset({"shared"})) == kept
    for id_ in sorted(kept)[-3:]:
        assert [r.id for r in find(store, "op", [("", frozenset({"shared"})), ("", frozenset({id_}))])] == [
            id_
        ]
    store.store(record("after"), [])
    store.close()


def test_two_stores_of_one_file_see_each_other_and_what_was_stored_stays(tmp_path) -> None:
    first, second = SQLiteStore(tmp_path / "c.db"), SQLiteStore(tmp_path / "c.db")
    first.store(record("r"), [Link("op", 0, "", "k")])
    assert find(second, "op", [("", frozenset({"k"}))]) == [record("r")]
    second.delete(["r"])
    assert first.records() == []
    first.store(record("s"), [])
    first.close()
    second.close()
    third = SQLiteStore(tmp_path / "c.db")
    assert third.records() == [record("s")]
    third.close()


def test_a_file_of_another_version_is_emptied(tmp_path) -> None:
    store = SQLiteStore(tmp_path / "c.db")
    store.store(record("r"), [])
    store.close()
    raw = sqlite3.connect(tmp_path / "c.db")
    raw.execute("PRAGMA user_version = 99")
    raw.close()
    again = SQLiteStore(tmp_path / "c.db")
    assert again.records() == []
    again.store(record("r"), [])
    again.close()


def test_a_damaged_file_is_replaced(tmp_path) -> None:
    (tmp_path / "c.db").write_bytes(b"this is no database at all " * 100)
    store = SQLiteStore(tmp_path / "c.db")
    store.store(record("r"), [])
    assert store.records() == [record("r")]
    store.close()


def test_damage_that_two_stores_meet_is_moved_aside_once(tmp_path) -> None:
    path, said = tmp_path / "c.db", []
    first, second = SQLiteStore(path, said.append), SQLiteStore(path, said.append)
    first.store(record("lost"), [])
    raw = sqlite3.connect(path)
    raw.execute("UPDATE record SET tokens = 'no JSON'")
    raw.commit()
    raw.close()
    assert first.records() == []
    first.store(record("kept"), [])
    assert second.records() == [record("kept")]  # found in the old file, which another store has replaced
    second.store(record("more"), [])
    assert {each.id for each in first.records()} == {"kept", "more"}
    first.close()
    second.close()
    assert len(said) == len({name.partition("-wal")[0] for name in aside(path)}) == 1


def test_processes_that_start_on_a_damaged_file_share_one_new_file(tmp_path) -> None:
    path = tmp_path / "c.db"
    path.write_bytes(b"this is no database at all " * 100)
    writers = [writer(path, f"w{index}", 5) for index in range(6)]
    for one in writers:
        assert one.communicate("go\n", timeout=60)[0].splitlines()[0] == "open"
        assert one.returncode == 0
    store = SQLiteStore(path)
    assert len(store.records()) == 30
    store.close()
    assert len(aside(path)) == 1


def aside(path: Path) -> list[str]:
    return [
        each.name for each in path.parent.glob(f"{path.name}.damaged-*") if not each.name.endswith("-shm")
    ]


def test_a_file_is_not_opened_while_another_process_moves_it_aside(tmp_path) -> None:
    path = tmp_path / "c.db"
    with guarded(path):
        one = writer(path, "w", 1)
        assert one.stdin is not None
        assert one.stdout is not None
        one.stdin.write("go\n")
        one.stdin.flush()
        # It may look as often as it likes: the file is made only when the lock is free.
        while f"{path}.lock" not in [str(link) for link in open_files(one.pid)]:
            assert one.poll() is None
        assert not path.exists()
    assert one.communicate(timeout=60)[0].splitlines() == ["open", "0"]


def open_files(pid: int) -> list[Path]:
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(link.readlink())
    return found


def test_what_cannot_be_opened_is_an_error(tmp_path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        SQLiteStore(tmp_path / "no such directory" / "c.db")


def test_a_transaction_that_fails_changes_nothing(tmp_path) -> None:
    store = SQLiteStore(tmp_path / "c.db")
    store.store(record("r"), [Link("op", 0, "", "k")])
    with pytest.raises(sqlite3.Error):
        store.store(record("r", created=5.0), [Link("op", 0, "", None)])  # type: ignore[arg-type]
    assert find(store, "op", [("", frozenset({"k"}))]) == [record("r")]
    store.store(record("s"), [])
    store.close()
