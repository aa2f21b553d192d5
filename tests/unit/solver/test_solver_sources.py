# SPDX-License-Identifier: Apache-2.0
"""Records and results that are had from elsewhere."""

from __future__ import annotations

import asyncio

import pytest
from support.solving import Elsewhere, build, graph_of, ignoring, naive, solver_of

from llbkit.llb.ir.graph import Vertex
from llbkit.solver.cache.memory import MemoryStore
from llbkit.solver.errors import VertexError
from llbkit.solver.events import Event, VertexCompleted, VertexWarning
from llbkit.solver.fake import FakeWorker, number, run, total
from llbkit.solver.ports import CacheSource


def chain(length: int = 5, *, content: bool = False) -> Vertex:
    head = number("v0", 1)
    for index in range(1, length):
        head = total(f"v{index}", head, content=[0] if content else [])
    return head


def remembered(head: Vertex, **behaviour: object) -> MemoryStore:
    """Return the store of another machine that has built ``head``."""
    store = MemoryStore()
    build(head, store, **behaviour)
    return store


class Bench:
    """A machine with an empty store of its own, that may ask others."""

    def __init__(self, *stores: MemoryStore, **behaviour: object) -> None:
        self.worker = FakeWorker(**behaviour)  # type: ignore[arg-type]
        self.home = MemoryStore()
        self.others = [Elsewhere(store, self.worker, f"s{i}") for i, store in enumerate(stores)]
        self.events: list[Event] = []

    def solve(self, head: Vertex, *, per_job: bool = False, metadata: object = None) -> object:
        sources: list[CacheSource] = list(self.others)

        async def main() -> object:
            solver = solver_of(self.worker, self.home, sources=[] if per_job else sources)
            async with solver.job(
                session=None, progress=self.events.append, sources=sources if per_job else []
            ) as job:
                return await job.solve(graph_of(head, metadata))  # type: ignore[arg-type]

        value = run(self.worker.clock, main())
        assert +self.worker.held == {}
        return value

    @property
    def warnings(self) -> list[str]:
        return [event.short for event in self.events if isinstance(event, VertexWarning)]


@pytest.mark.parametrize("per_job", [False, True])
def test_a_hit_elsewhere_needs_no_input_and_one_question_about_the_whole_graph(per_job) -> None:
    head = chain()
    bench = Bench(remembered(head))
    assert bench.solve(head, per_job=per_job) == naive(head)
    assert bench.worker.calls == {}
    assert len(bench.others[0].queries) == 1
    assert len(bench.others[0].queries[0]) == 5
    assert len(bench.others[0].loads) == 1
    assert {
        event.digest for event in bench.events if isinstance(event, VertexCompleted) and event.cached
    } == {vertex.digest for vertex in graph_of(head).vertices}


def test_the_first_source_is_asked_first_and_then_nobody_else() -> None:
    head = chain()
    bench = Bench(remembered(head))
    bench.home = remembered(head)
    bench.solve(head)
    assert bench.others[0].queries == bench.others[0].loads == []


def test_nobody_else_is_asked_while_content_tells_that_all_is_here() -> None:
    """The head has no key before its source was looked at, as with any context of a user."""
    head = total("end", total("copy", number("context", 4), number("base", 1), content=[0]))
    bench = Bench(remembered(head, volatile=frozenset({"context"})), volatile=frozenset({"context"}))
    bench.home = remembered(head, volatile=frozenset({"context"}))
    assert bench.solve(head) == naive(head)
    assert bench.worker.calls == {"context": 1}
    assert bench.others[0].queries == bench.others[0].loads == []


def test_what_the_first_source_has_lost_is_looked_for_elsewhere() -> None:
    head = total("end", number("a", 7), content=[0])
    bench = Bench()
    bench.home = remembered(head)
    other = FakeWorker(clock=bench.worker.clock)
    bench.others = [Elsewhere(remembered(head), other)]
    lost = bench.worker.lost = {"7"}
    there = other.load

    def load(token: str) -> object:
        found = there(token)
        lost.discard(token)
        return bench.worker.load(token) if found is not None else None

    other.load = load  # type: ignore[method-assign, assignment]
    assert bench.solve(head) == 7
    assert bench.worker.calls == {}


def test_sources_are_asked_in_order() -> None:
    head = chain()
    bench = Bench(MemoryStore(), remembered(head), remembered(head))
    bench.solve(head)
    assert [len(other.loads) for other in bench.others] == [0, 1, 0]
    assert [other.saves for other in bench.others] == [0, 0, 0]


def test_what_was_had_from_elsewhere_is_remembered_here() -> None:
    head = chain()
    bench = Bench(remembered(head))
    bench.solve(head)
    (record,) = bench.home.records()
    assert record.used == 1
    assert record.tokens == ("1",)
    bench.others = []
    assert bench.solve(head) == naive(head)
    assert bench.worker.calls == {}


def test_where_the_worker_cannot_keep_it_the_result_is_used_all_the_same() -> None:
    head = chain()
    bench = Bench(remembered(head), unsaved=frozenset({""}))
    assert bench.solve(head) == naive(head)
    assert bench.worker.calls == {}
    assert bench.home.records() == []


def test_of_a_graph_that_is_half_known_the_other_half_is_executed() -> None:
    known = chain(3)
    head = total("more", total("some", known), known)
    bench = Bench(remembered(known))
    assert bench.solve(head) == naive(head)
    assert bench.worker.calls == {"some": 1, "more": 1}


def test_what_is_known_by_content_is_found_when_the_content_is_there() -> None:
    """The source is another one, with the same content: only that tells that the rest is the same."""
    bench = Bench(remembered(total("costly", number("a", 5), content=[0])))
    head = total("costly", number("b", 5), content=[0])
    assert bench.solve(head) == 5
    assert bench.worker.calls == {"b": 1}
    bench.others = []
    assert bench.solve(head) == 5
    assert bench.worker.calls == {"b": 1}


def test_links_of_two_sources_do_not_make_one_hit() -> None:
    """Each knows of another result which was made of one of the inputs."""
    a, b = number("a", 1), number("b", 2)
    bench = Bench(remembered(total("t", a, number("x", 2))), remembered(total("t", number("y", 1), b)))
    head = total("t", a, b)
    assert bench.solve(head) == 3
    assert bench.worker.calls["t"] == 1


@pytest.mark.parametrize("delay", [0.0, 1.0])
def test_what_becomes_known_at_the_same_time_is_asked_for_together(delay) -> None:
    parts = [total(f"p{i}", number(f"n{i}", i), content=[0]) for i in range(40)]
    others = [total(f"p{i}", number(f"m{i}", i), content=[0]) for i in range(40)]
    bench = Bench(remembered(total("all", *parts)))
    bench.others[0].delay = delay
    assert bench.solve(total("all", *others)) == sum(range(40))
    assert not any(name.startswith("p") for name in bench.worker.calls)
    assert len(bench.others[0].queries) <= 8
    asked = [link for links in bench.others[0].queries for link in links]
    assert len(asked) == len(set(asked)), "nothing is asked twice"


def test_nothing_is_given_up_while_an_answer_is_under_way() -> None:
    """The content of one input is asked for when the other turns out to have no further key."""

    def head(name: str) -> Vertex:
        return total("head", number(name, 5), total("b", number("c", 3), content=[0]), content=[0])

    far = remembered(head("elsewhere"))
    far.delete([record.id for record in far.records() if "head" not in record.name])
    bench = Bench(far, delays={"here": 1.0}, look_delays={"b": 1.5}, unlookable=frozenset({"b"}))
    bench.others[0].delay = 1.0
    assert bench.solve(head("here")) == 8
    assert bench.worker.calls == {"here": 1, "c": 1}, "the other input is not needed"


@pytest.mark.parametrize("broken", ["query", "answers", "load"])
def test_a_source_that_fails_is_a_warning_and_a_miss(broken) -> None:
    head = chain()
    bench = Bench(remembered(head), remembered(chain(3)))
    bench.others[0].broken = frozenset({broken})
    assert bench.solve(head) == naive(head)
    assert bench.worker.calls == {"v3": 1, "v4": 1}, "the next source is asked, what is missing is executed"
    assert len(bench.warnings) == 1
    assert bench.warnings[0].startswith("cache s0 is not used: ")
    assert len(bench.others[0].queries) == 1, "it is not asked again"


def test_results_that_are_gone_are_a_miss_without_a_warning() -> None:
    head = chain(2)
    store = remembered(head)
    bench = Bench(store, lost={"1"})
    assert bench.solve(head) == naive(head)
    assert bench.worker.calls == {"v0": 1, "v1": 1}
    assert bench.warnings == []
    assert len(bench.others[0].loads) == 2


def test_renewing_asks_nobody_for_what_is_renewed() -> None:
    head = chain(3)
    bench = Bench(remembered(head))
    assert bench.solve(head, metadata=ignoring(*graph_of(head).vertices)) == naive(head)
    assert bench.worker.calls == {"v0": 1, "v1": 1, "v2": 1}
    assert bench.others[0].loads == []


def test_leaving_while_a_source_is_asked_leaves_nothing_behind() -> None:
    head = chain()
    bench = Bench(remembered(head))
    bench.others[0].delay = 5.0

    async def main() -> None:
        solver = solver_of(bench.worker, bench.home, sources=bench.others)

        async def one() -> object:
            async with solver.job(session=None) as job:
                return await job.solve(graph_of(head))

        leaving, staying = asyncio.ensure_future(one()), asyncio.ensure_future(one())
        await bench.worker.clock.sleep(2.0)
        leaving.cancel()
        outcomes = await asyncio.gather(leaving, staying, return_exceptions=True)
        assert isinstance(outcomes[0], asyncio.CancelledError)
        assert outcomes[1] == naive(head)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(bench.worker.clock, main())
    assert bench.worker.calls == {}
    assert +bench.worker.held == {}


def test_the_first_source_is_no_cache_that_one_can_do_without() -> None:
    """Its errors are those of the state directory."""
    bench = Bench()

    def linked(links: object) -> None:
        raise OSError("no space left")

    bench.home.linked = linked  # type: ignore[method-assign, assignment]
    with pytest.raises((OSError, VertexError), match="no space left"):
        bench.solve(chain())
