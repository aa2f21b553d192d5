# SPDX-License-Identifier: Apache-2.0
"""Keys, candidates, flights, resources: the parts by themselves."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from llbkit import solver
from llbkit.solver import keys
from llbkit.solver.fake import VirtualClock, run
from llbkit.solver.keys import Candidates, KnownInput
from llbkit.solver.ports import CacheMap, InputKey, Link
from llbkit.solver.schedule.flight import Flights, together
from llbkit.solver.schedule.resources import Resources

TWO = CacheMap(digest="op", inputs=(InputKey(), InputKey(selector="/s")))


def known(*keys_of: tuple[str, ...]) -> list[KnownInput]:
    return [KnownInput("", found) for found in keys_of]


# -- keys


def test_a_vertex_key_is_made_of_the_first_keys_and_the_selectors() -> None:
    key = keys.vertex_key(TWO, known(("a", "x"), ("b", "y")))
    assert key == keys.vertex_key(TWO, known(("a",), ("b", "z")))
    others = [
        keys.vertex_key(TWO, known(("x",), ("b",))),
        keys.vertex_key(TWO, known(("b",), ("a",))),
        keys.vertex_key(TWO, [KnownInput("", ("a",)), KnownInput("/s", ("b",))]),
        keys.vertex_key(CacheMap(digest="other op"), known(("a",), ("b",))),
    ]
    assert len({key, *others}) == 5


def test_no_key_without_a_key_of_every_input() -> None:
    assert keys.vertex_key(TWO, known(("a",), ())) is None
    assert keys.vertex_key(CacheMap(digest="op", volatile=True), []) is None
    assert keys.vertex_key(CacheMap(digest="op"), []) is not None


def test_links_name_every_key_of_every_input() -> None:
    assert keys.links(CacheMap(digest="op"), []) == (Link("op", -1, "", ""),)
    assert set(keys.links(TWO, [KnownInput("", ("a", "b")), KnownInput("/s", ("c",))])) == {
        Link("op", 0, "", "a"),
        Link("op", 0, "", "b"),
        Link("op", 1, "/s", "c"),
    }


def test_candidates_match_what_is_linked_to_every_input() -> None:
    candidates = Candidates(2)
    candidates.learn(0, {"r", "s"}, final=True)
    assert not candidates.matches
    assert not candidates.exhausted
    candidates.learn(1, {"t"}, final=False)
    assert not candidates.exhausted
    assert not candidates.may_match_as_known(1)
    candidates.learn(1, {"s"}, final=True)
    assert candidates.matches == {"s"}
    assert candidates.may_match_as_known(1)
    candidates.forget({"s"})
    assert candidates.exhausted


def test_candidates_are_hopeless_as_soon_as_final_inputs_have_nothing_in_common() -> None:
    candidates = Candidates(3)
    assert not candidates.exhausted
    candidates.learn(0, {"r"}, final=True)
    candidates.learn(2, {"s"}, final=False)
    assert not candidates.exhausted
    candidates.learn(1, {"s"}, final=True)
    assert candidates.exhausted


# -- flights


def test_one_flight_for_equal_keys_and_none_afterwards() -> None:
    clock = VirtualClock()
    runs: list[int] = []

    async def work() -> int:
        runs.append(1)
        await clock.sleep(1.0)
        return len(runs)

    async def main() -> None:
        flights: Flights = Flights()
        assert await asyncio.gather(*(flights.run("key", "name", work) for _ in range(3))) == [1, 1, 1]
        assert len(flights) == 0
        assert await flights.run("key", "name", work) == 2

    run(clock, main())


def test_who_comes_while_a_flight_is_being_cancelled_waits_for_its_end_and_starts_anew() -> None:
    clock = VirtualClock()
    log: list[str] = []

    async def work() -> str:
        log.append("begin")
        try:
            await clock.sleep(10.0)
        finally:
            await clock.sleep(5.0)  # winding down takes time
            log.append("end")
        return "done"

    async def main() -> str:
        flights: Flights = Flights()
        first = asyncio.ensure_future(flights.run("key", "name", work))
        await clock.sleep(1.0)
        first.cancel()
        await clock.sleep(1.0)
        result = await flights.run("key", "name", work)
        with pytest.raises(asyncio.CancelledError):
            await first
        return result

    assert run(clock, main()) == "done"
    assert log == ["begin", "end", "begin", "end"]


def test_leaving_waits_for_the_end_even_if_it_is_cancelled_twice() -> None:
    clock = VirtualClock()
    ended = []

    async def work() -> None:
        try:
            await clock.sleep(10.0)
        finally:
            await asyncio.shield(clock.sleep(5.0))
            ended.append(clock.time())

    async def main() -> None:
        flights: Flights = Flights()
        task = asyncio.ensure_future(flights.run("key", "name", work))
        for _ in range(3):
            await clock.sleep(1.0)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended

    run(clock, main())


def test_together_raises_the_first_failure_itself_and_stops_the_others() -> None:
    clock = VirtualClock()

    async def fail(after: float, error: Exception) -> None:
        await clock.sleep(after)
        raise error

    async def main() -> None:
        first = KeyError("first")
        with pytest.raises(KeyError) as caught:
            await together(fail(2.0, ValueError("later")), fail(1.0, first), clock.sleep(100.0))
        assert caught.value is first
        assert clock.time() == 1001.0

    run(clock, main())


def test_together_leaves_nothing_unawaited() -> None:
    """The second has not taken a step when the first fails; it must not be reported as forgotten."""

    async def fail() -> None:
        raise KeyError

    async def never() -> None:
        raise AssertionError("must not run")

    async def main() -> None:
        with pytest.raises(KeyError):
            await together(fail(), never(), never())

    run(VirtualClock(), main())


def test_a_cancellation_from_outside_is_not_lost_to_a_failure() -> None:
    clock = VirtualClock()

    async def fail_when_cancelled() -> None:
        try:
            await clock.sleep(10.0)
        except asyncio.CancelledError:
            raise ValueError("while being cancelled") from None

    async def main() -> None:
        task = asyncio.ensure_future(together(fail_when_cancelled(), clock.sleep(10.0)))
        await clock.sleep(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(clock, main())


# -- resources


def test_waiters_are_served_by_priority_then_in_order() -> None:
    clock = VirtualClock()
    order: list[str] = []

    async def use(name: str, priority: float, resources: Resources) -> None:
        async with resources.hold({"exec": 1}, priority):
            order.append(name)
            await clock.sleep(1.0)

    async def main() -> None:
        resources = Resources({"exec": 1})
        await together(
            *(use(n, p, resources) for n, p in [("low", 1), ("high", 9), ("also low", 1), ("mid", 5)])
        )

    run(clock, main())
    assert order == ["high", "mid", "low", "also low"]


def test_small_needs_overtake_what_does_not_fit_and_all_needs_are_held_together() -> None:
    clock = VirtualClock()
    held: dict[str, int] = {"cpu": 0, "net": 0}
    order: list[str] = []

    async def use(name: str, needs: dict[str, int], priority: float, resources: Resources) -> None:
        async with resources.hold(needs, priority):
            order.append(name)
            for key, amount in needs.items():
                held[key] += min(amount, 2)
            assert held["cpu"] <= 2
            assert held["net"] <= 2
            await clock.sleep(1.0)
            for key, amount in needs.items():
                held[key] -= min(amount, 2)

    async def main() -> None:
        resources = Resources({"cpu": 2, "net": 2})
        await together(
            use("one", {"cpu": 1}, 9.0, resources),
            use("both", {"cpu": 9, "net": 1}, 5.0, resources),
            use("little", {"cpu": 1}, 1.0, resources),
            use("none", {}, 0.0, resources),
        )
        # all is given back
        async with resources.hold({"cpu": 2, "net": 2}, 0.0):
            pass

    run(clock, main())
    assert order == ["none", "one", "little", "both"]


def test_a_cancelled_waiter_takes_nothing_along() -> None:
    clock = VirtualClock()

    async def use(resources: Resources) -> None:
        async with resources.hold({"exec": 1}, 1.0):
            await clock.sleep(5.0)

    async def main() -> None:
        resources = Resources({"exec": 1})
        first, second, third = (asyncio.ensure_future(use(resources)) for _ in range(3))
        await clock.sleep(1.0)
        second.cancel()
        first.cancel()
        await third
        # A grant and a cancellation in the same turn: the grant is given back.
        holder, waiter = asyncio.ensure_future(use(resources)), asyncio.ensure_future(use(resources))
        await clock.sleep(1.0)
        holder.cancel()
        for _ in range(2):
            await asyncio.sleep(0)
        waiter.cancel()
        await use(resources)
        return await asyncio.wait_for(use(resources), 60.0)

    run(clock, main())


# -- the facade


def test_the_facade_names_exactly_what_it_has() -> None:
    assert solver.__all__ == sorted(solver.__all__)
    for name in solver.__all__:
        assert getattr(solver, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = solver.nothing


def test_importing_the_facade_is_light() -> None:
    code = "import sys, llbkit.solver; print([m for m in ('asyncio', 'sqlite3', 'google', 'llbkit.llb.ir.ops') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )
