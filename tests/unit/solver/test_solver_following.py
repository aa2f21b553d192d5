# SPDX-License-Identifier: Apache-2.0
"""What is looked at, solved and executed, and when: inputs are followed concurrently and only as far as needed."""

from __future__ import annotations

import pytest
from support.solving import build, graph_of, ignoring, solve, solver_of

from llbkit.llb.ir.graph import Edge
from llbkit.solver.cache.memory import MemoryStore
from llbkit.solver.errors import SolveError, VertexError
from llbkit.solver.fake import Deadlock, FakeWorker, number, run, total

VOLATILE = frozenset({"dir"})


def stages(count: int, value: int):
    """A base, and ``count`` copies onto it, each from a stage of its own that is built from a local directory."""
    directory = number("dir", value)
    image = number("base", 100)
    for index in range(count):
        built = total(f"build{index}", total(f"context{index}", directory, content=[0]))
        image = total(f"copy{index}", image, built, content=[1])
    return image


def slow(count: int) -> dict[str, float]:
    return {f"build{index}": 10.0 for index in range(count)}


def test_cold_stages_are_built_at_the_same_time() -> None:
    done = build(stages(5, 1), MemoryStore(), volatile=VOLATILE, delays=slow(5))
    assert done.value == 105
    assert done.seconds == 10.0


def test_changed_stages_are_built_at_the_same_time_although_each_may_turn_out_equal() -> None:
    store = MemoryStore()
    build(stages(5, 1), store, volatile=VOLATILE)
    done = build(stages(5, 2), store, volatile=VOLATILE, delays=slow(5))
    assert done.value == 110
    assert done.seconds == 10.0


def test_the_base_is_not_waited_for_a_copy_that_cannot_match() -> None:
    """Nothing was ever copied onto this base, so base and stage are made at once."""
    head = total("copy", total("base", number("a", 1)), total("stage", number("b", 2)), content=[1])
    done = build(head, MemoryStore(), delays={"base": 5.0, "stage": 5.0})
    assert done.seconds == 5.0


def test_a_base_that_may_match_is_not_made_before_the_content_is_known() -> None:
    """The record of the base is lost, but not that of the copy onto it: equal content saves making the base."""
    store = MemoryStore()
    base = total("base", number("a", 1))
    build(total("copy", base, total("stage", number("b", 2), salt="1"), content=[1]), store)
    store.delete([record.id for record in store.records() if record.name.startswith(("sum base", "int://a"))])
    done = build(total("copy", base, total("stage", number("b", 2), salt="2"), content=[1]), store)
    assert done.value == 3
    assert dict(done.calls) == {"stage": 1}


def test_content_is_not_looked_at_while_the_definition_may_suffice() -> None:
    """Only the base's record has another key than before; the stage's definition key matches, its content is not asked."""
    store = MemoryStore()
    stage = total("stage", number("b", 2))
    first = total("base", number("a", 1), salt="1", content=[0])
    build(total("copy", first, stage, content=[1]), store)
    store.delete([record.id for record in store.records() if "stage" in record.name])
    # The same base by content, under another definition.
    other = total("base", total("maker", number("a", 1)), salt="1", content=[0])
    done = build(total("copy", other, stage, content=[1]), store)
    assert done.value == 3
    assert dict(done.calls) == {"maker": 1}
    assert dict(done.looks) == {"base": 1}


def test_a_hit_cancels_what_was_begun_to_find_it() -> None:
    """The copy is found by the content of one stage; identifying the other, slow one was begun and is of no use now."""
    store = MemoryStore()
    quick = total("quick", number("q", 1))
    late = total("late", total("lates", number("l", 2), salt="1"), content=[0])
    build(total("head", quick, late, content=[0]), store)
    changed = total("quick", number("q", 1), salt="2")
    done = build(total("head", changed, late, content=[0]), store, delays={"lates": 100.0})
    assert done.value == 3
    assert done.seconds < 100
    assert "late" not in done.calls


def test_outputs_of_one_vertex_are_kept_apart() -> None:
    many = total("many", number("one", 1), outputs=3)
    store = MemoryStore()
    for index in range(3):
        done = build(total("user", Edge(many, index)), store)
        assert done.value == 1 + index
        assert done.calls.get("many", 0) == (1 if index == 0 else 0)
    assert build(Edge(many, 2), store).value == 3


def test_an_output_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(SolveError, match=r"output 4 of .* does not exist"):
        solve(FakeWorker(), Edge(number("one", 1), 4))
    with pytest.raises(VertexError, match=r"output 4 of .* does not exist"):
        solve(FakeWorker(), total("user", Edge(number("one", 1), 4)))


def test_a_vertex_that_cannot_tell_contents_still_solves() -> None:
    head = total("user", number("dir", 3), content=[0])
    store = MemoryStore()
    for _ in range(2):
        done = build(head, store, volatile=VOLATILE, unlookable=frozenset({"user"}))
        assert done.value == 3
        assert dict(done.calls) == {"dir": 1, "user": 1}
    assert store.records() == []


def test_results_that_cannot_be_kept_are_made_once_per_job() -> None:
    head = total("head", total("middle", number("one", 1)))
    store = MemoryStore()
    worker = FakeWorker(unsaved=frozenset({"middle"}))
    assert solve(worker, head, total("other", total("middle", number("one", 1))), store=store) == [1, 1]
    assert worker.calls["middle"] == 1
    again = FakeWorker(unsaved=frozenset({"middle"}))
    assert solve(again, head, store=store) == [1]
    assert not again.calls


def test_the_own_key_is_asked_once_even_by_concurrent_solves() -> None:
    import asyncio

    worker = FakeWorker(key_delays={"one": 3.0}, delays={"one": 2.0})
    one = number("one", 1)

    async def main():
        async with solver_of(worker).job(session=None) as job:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(job.solve(graph_of(total(f"t{i}", one)))) for i in range(4)]
            return [task.result() for task in tasks]

    assert run(worker.clock, main()) == [1, 1, 1, 1]
    assert worker.keys["one"] == 1
    assert worker.calls["one"] == 1


def test_a_missing_own_key_is_the_failure_of_its_vertex() -> None:
    bad = number("bad", 1)
    worker = FakeWorker(key_failures=frozenset({"bad"}), key_delays={"slow": 50.0})
    began = worker.clock.time()
    with pytest.raises(VertexError) as caught:
        solve(worker, total("head", bad, number("slow", 2)))
    assert caught.value.digest == bad.digest
    assert isinstance(caught.value.cause, LookupError)
    assert worker.clock.time() == began
    assert not worker.calls


def test_a_failed_vertex_fails_again_in_the_same_job_without_being_executed() -> None:
    worker = FakeWorker(failures=frozenset({"bad"}))
    bad = total("bad", number("one", 1))

    async def main():
        async with solver_of(worker).job(session=None) as job:
            for head in (bad, bad, total("user", bad)):
                with pytest.raises(VertexError) as caught:
                    await job.solve(graph_of(head))
                assert caught.value.digest == bad.digest

    run(worker.clock, main())
    assert worker.calls["bad"] == 1


def test_failures_far_below_surface_once_through_a_deep_chain() -> None:
    head = bad = number("bad", 1)
    for index in range(1500):
        head = total(f"t{index}", head)
    with pytest.raises(VertexError) as caught:
        solve(FakeWorker(failures=frozenset({"bad"})), head)
    assert caught.value.digest == bad.digest


def test_the_virtual_loop_reports_a_deadlock() -> None:
    import asyncio

    async def forever() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        run(FakeWorker().clock, forever())


@pytest.mark.parametrize("value", [1, 2])
def test_what_ignores_the_cache_is_made_anew_and_so_is_all_that_is_made_of_it(value: int) -> None:
    store = MemoryStore()
    source = number("web", 1)
    head = total("head", total("middle", source), number("other", 10))
    build(head, store)
    done = build(head, store, metadata=ignoring(source), values={"web": value})
    assert done.value == 10 + value
    assert dict(done.calls) == {"web": 1, "middle": 1, "head": 1}
    after = build(head, store)
    assert after.value == 10 + value
    assert not after.calls


def test_what_sees_the_same_content_of_a_renewed_vertex_is_found() -> None:
    store = MemoryStore()
    source = number("web", 1)
    head = total("head", total("middle", source, content=[0]))
    build(head, store)
    done = build(head, store, metadata=ignoring(source))
    assert dict(done.calls) == {"web": 1}
    done = build(head, store, metadata=ignoring(source), values={"web": 2})
    assert done.value == 2
    assert dict(done.calls) == {"web": 1, "middle": 1, "head": 1}


def test_content_that_comes_back_does_not_bring_back_a_later_result() -> None:
    """The record made of the first content must not be found by it once it holds the result of the second."""
    store = MemoryStore()
    source = number("web", 1)
    head = total("head", source, content=[0])
    build(head, store)
    build(head, store, metadata=ignoring(source), values={"web": 2})
    done = build(head, store, metadata=ignoring(source), values={"web": 1})
    assert done.value == 1
    assert build(head, store).value == 1


def test_a_renewed_vertex_found_by_content_replaces_what_its_definition_stood_for() -> None:
    store = MemoryStore()
    source = number("web", 1)
    head = total("head", source, content=[0])
    # Another definition whose content is 2 is remembered, for longer.
    build(total("head", number("file", 2), content=[0]), store)
    build(head, store, values={"web": 1}, delays={"web": 5.0})
    done = build(head, store, metadata=ignoring(source), values={"web": 2})
    assert done.value == 2
    assert dict(done.calls) == {"web": 1}
    after = build(head, store)
    assert after.value == 2
    assert not after.calls


def test_a_renewed_result_counts_even_if_an_older_one_claims_to_be_newer() -> None:
    """Clocks of machines that share a store differ."""
    store = MemoryStore()
    source = number("web", 1)
    head = total("head", source, content=[0])
    # The other definition's record is found by content, and so linked to this definition; it is from the future.
    build(total("head", number("file", 1), content=[0]), store, delays={"file": 500.0})
    build(head, store)
    done = build(head, store, metadata=ignoring(source), values={"web": 2})
    assert done.value == 2
    assert build(head, store).value == 2


def test_used_records_are_noted_once_when_the_job_ends() -> None:
    store = MemoryStore()
    head = total("head", number("one", 1))
    build(head, store)
    build(total("user", head), store, delays={"user": 7.0})
    used = {record.name.split()[-1]: (record.used, record.last_used_at) for record in store.records()}
    assert used == {"int://one?value=1&": (1, 1000.0), "head": (2, 1007.0), "user": (1, 1007.0)}
