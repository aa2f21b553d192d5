# SPDX-License-Identifier: Apache-2.0
"""The contract of `llbkit.solver.ports.CacheSource`, run against every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from llbkit.solver.cache.memory import MemoryStore
from llbkit.solver.cache.source import StoreSource
from llbkit.solver.cache.sqlite import SQLiteStore
from llbkit.solver.fake import FakeWorker
from llbkit.solver.ports import CacheSource, Link, Record

T = TypeVar("T")
ONE, OTHER, NEITHER = Link("op", 0, "", "k"), Link("op", 1, "/s", "l"), Link("op", 0, "/s", "k")


@pytest.fixture
def worker() -> FakeWorker:
    return FakeWorker()


@pytest.fixture(params=["memory", "sqlite"])
def source(request, tmp_path, worker):
    store = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "cache.db")
    yield StoreSource(store, worker, "a source")
    store.close()


def do(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def record(name: str, created: float = 1.0) -> Record:
    return Record(
        id=name,
        digest="op",
        name=f"step {name}",
        ingredients={"a": [1]},
        created_at=created,
        last_used_at=created,
        used=1,
        duration=2.0,
    )


@pytest.fixture
def save(source: CacheSource, worker: FakeWorker) -> Callable[..., bool]:
    def save(name: str, *numbers: int, created: float = 1.0, links: tuple[Link, ...] = (ONE,)) -> bool:
        results = [worker.handle(number) for number in numbers]
        kept = do(source.save(record(name, created), links, results))
        assert not any(result.released for result in results), "they are the caller's"
        for result in results:
            result.release()
        return kept

    return save


def test_it_has_a_name(source: CacheSource) -> None:
    assert source.name == "a source"


def test_every_link_is_answered_in_order(source: CacheSource, save) -> None:
    assert save("r", 5, links=(ONE, OTHER))
    assert save("s", 6, links=(ONE,))
    assert list(do(source.query([NEITHER, ONE, OTHER, ONE]))) == [set(), {"r", "s"}, {"r"}, {"r", "s"}]
    assert list(do(source.query([]))) == []


def test_what_is_loaded_is_the_record_with_handles_of_its_own(source: CacheSource, worker, save) -> None:
    save("r", 5, 6)
    found = [do(source.load({"r"})), do(source.load({"r"}))]
    for loaded in found:
        assert loaded.results == (5, 6)
        assert loaded.record.ingredients == {"a": [1]}
        assert (loaded.record.id, loaded.record.name, loaded.record.duration) == ("r", "step r", 2.0)
        assert worker.collect() == frozenset()
        loaded.release()
    assert +worker.held == {}


def test_the_newest_that_can_be_had_is_loaded(source: CacheSource, worker, save) -> None:
    for name, number, created in (("old", 1, 1.0), ("new", 3, 3.0), ("middle", 2, 2.0)):
        save(name, number, created=created)
    assert do(source.load({"old", "new", "middle", "unknown"})).record.id == "new"
    worker.lost.add("3")
    assert do(source.load({"old", "new", "middle"})).record.id == "middle"


def test_a_record_of_which_one_result_is_gone_cannot_be_had(source: CacheSource, worker, save) -> None:
    save("r", 5, 6)
    worker.lost.add("6")
    assert do(source.load({"r"})) is None
    assert do(source.load({"unknown"})) is None
    assert do(source.load(set())) is None
    assert +worker.held == {}


def test_saving_again_replaces_results_and_links(source: CacheSource, save) -> None:
    save("r", 5, links=(ONE,))
    save("r", 6, links=(OTHER,))
    assert list(do(source.query([ONE, OTHER]))) == [set(), {"r"}]
    assert do(source.load({"r"})).results == (6,)


def test_what_cannot_be_kept_is_not_found(source: CacheSource, worker, save) -> None:
    worker.unsaved = frozenset({""})
    assert not save("r", 5)
    assert list(do(source.query([ONE]))) == [set()]
