# SPDX-License-Identifier: Apache-2.0
"""An engine that lives for long: what no build uses can be collected, and nothing else is."""

from __future__ import annotations

import asyncio
import gc
import shutil
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from llbkit import Engine, llb
from llbkit.engine.solution import Solution
from llbkit.llb import State, bind, diff, local, merge, scratch
from llbkit.worker.state.gc import Usage

pytestmark = pytest.mark.root

BUILDS = 200


def prune(engine: Engine) -> Sequence[Usage]:
    return engine.worker.pools.run_sync("disk", lambda _: engine.worker.collector.prune())


def usage(engine: Engine) -> Sequence[Usage]:
    return engine.worker.pools.run_sync("disk", lambda _: engine.worker.collector.usage())


def base() -> State:
    return scratch().mkdir("/bin").copy(local("context"), "/busybox", "/bin/busybox")


def program(number: int, random: Random) -> State:
    """Return a small graph, of all kinds of steps, that is partly one of those before."""
    one = scratch().mkfile("/number", str(number))
    two = scratch().mkfile("/other", str(random.randrange(5))).mkdir("/d")
    match number % 10:
        case 0:
            return base().run(["/bin/busybox", "cp", "/in/number", "/number"], mounts=[bind(one, "/in")]).root
        case 1:
            return merge([one, two])
        case 2:
            return merge([diff(two, two.mkfile("/number", str(number)))])
        case 3:
            return one.copy(local("context"), "/file", "/file")
        case 4:
            return merge([one, local("context")])
        case _:
            return one.copy(two, "/other", "/").mkfile("/more", "x" * random.randrange(3))


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    shutil.copy("/bin/busybox", folder / "busybox")
    (folder / "file").write_text("file")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY file /\nCOPY busybox /bin/\n")
    return folder


class Life:
    """A long life of an engine: builds of many kinds, some of whose solutions a program keeps for a while."""

    def __init__(self, engine: Engine, context: Path, archive: Path) -> None:
        self.engine, self.context, self.archive = engine, context, archive
        self.random = Random(10)
        self.held: dict[int, Solution] = {}

    async def live(self, builds: int) -> None:
        for number in range(builds):
            (self.context / "file").write_text(str(number // 7))
            await (self.build_image(number) if number % 10 == 5 else self.solve(number))
            self.let_go()
            if number % 8 == 0:
                prune(self.engine)
            for older, solution in self.held.items():
                assert await solution.read_file("/number") == str(older).encode()

    async def build_image(self, number: int) -> None:
        await self.engine.build(self.context, tags=[f"app:{number % 3}"])
        for image in self.engine.images.list():
            if self.random.random() < 0.5:
                self.engine.images.remove(image.name)

    async def solve(self, number: int) -> None:
        solution = await self.engine.solve(
            program(number, self.random),
            locals={"context": self.context},
            outputs=[f"type=oci,dest={self.archive}"] if number % 10 == 6 else [],
            no_cache=number % 10 == 7,
        )
        if self.random.random() < 0.3:
            self.held[number] = solution

    def let_go(self) -> None:
        for older in [one for one in self.held if self.random.random() < 0.2]:
            if self.random.random() < 0.5:
                self.held[older].release()
            del self.held[older]


def test_two_hundred_builds_leave_nothing_that_no_job_uses(tmp_path: Path, context: Path) -> None:
    with Engine(root=tmp_path / "state") as engine:
        start = sum(one.size for one in usage(engine))
        life = Life(engine, context, tmp_path / "o.tar")
        asyncio.run(life.live(BUILDS))
        asyncio.run(life.solve(BUILDS + 1))
        for image in engine.images.list():
            engine.images.remove(image.name)
        prune(engine)
        assert any(one.in_use for one in usage(engine)) == bool(life.held)
        life.held.clear()
        gc.collect()
        assert not any(one.in_use for one in usage(engine))
        prune(engine)
        assert [one for one in usage(engine) if one.kind != "cache mount"] == []
        assert sum(one.size for one in usage(engine)) == start
        assert list((tmp_path / "state/layers").iterdir()) == []


def test_builds_are_not_harmed_by_what_is_pruned_beside_them(tmp_path: Path, context: Path) -> None:
    """Several jobs share steps, take turns being cancelled, and everything not in use is removed all the time."""
    shell = ["/bin/busybox", "sh", "-ec"]

    def chain(number: int) -> State:
        shared = base().run([*shell, "busybox=/bin/busybox; $busybox sleep 0.1; echo shared > /shared"]).root
        own = shared.run([*shell, f"/bin/busybox sleep 0.0{number}; echo {number} > /own"]).root
        return (
            own.copy(scratch().mkfile("/late", str(number)), "/late", "/")
            .run([*shell, "cd / && test -e /own"])
            .root
        )

    async def one(engine: Engine, number: int) -> None:
        solution = await engine.solve(chain(number), locals={"context": context})
        for _ in range(3):
            await asyncio.sleep(0.02)
            assert await solution.read_file("/own") == f"{number}\n".encode()
            assert await solution.read_file("/shared") == b"shared\n"

    async def pruning(engine: Engine) -> None:
        while True:
            await engine.worker.pools.run("cpu", lambda _: engine.worker.collector.prune())
            await asyncio.sleep(0)

    async def main(engine: Engine) -> None:
        pruner = asyncio.ensure_future(pruning(engine))
        for round_ in range(3):
            jobs = [asyncio.ensure_future(one(engine, number)) for number in range(4)]
            await asyncio.sleep(0.12)
            jobs[round_].cancel()
            outcomes = await asyncio.gather(*jobs, return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, Exception):
                    raise outcome
        pruner.cancel()
        await asyncio.gather(pruner, return_exceptions=True)

    with Engine(root=tmp_path / "state") as engine:
        asyncio.run(main(engine))
        gc.collect()
        prune(engine)
        assert usage(engine) == []


def test_a_copy_of_a_local_directory_stays_for_all_steps_that_mount_it(tmp_path: Path, context: Path) -> None:
    """What a step mounts is in nobody's result."""
    files = bind(local("context", exclude_patterns=["busybox"]), "/in")
    shell = ["/bin/busybox", "sh", "-ec"]
    first = base().run([*shell, "/bin/busybox cat /in/file; /bin/busybox sleep 0.2"], mounts=[files]).root
    state = first.run([*shell, "/bin/busybox cp /in/file /seen"], mounts=[files]).root

    async def main(engine: Engine) -> bytes:
        solving = asyncio.ensure_future(engine.solve(state, locals={"context": context}))
        while not solving.done():
            await engine.worker.pools.run("cpu", lambda _: engine.worker.collector.prune())
            await asyncio.sleep(0.01)
        return await (await solving).read_file("/seen")

    with Engine(root=tmp_path / "state") as engine:
        assert asyncio.run(main(engine)) == b"file"


def test_a_released_solution_frees_its_files_and_cannot_be_read(tmp_path: Path) -> None:
    with Engine(root=tmp_path / "state") as engine:
        solution = asyncio.run(engine.solve(llb.scratch().mkfile("/a", "1")))
        prune(engine)
        assert asyncio.run(solution.read_file("/a")) == b"1"
        solution.release()
        assert [one.kind for one in prune(engine)] == ["layer"]
        with pytest.raises(RuntimeError, match="released"):
            asyncio.run(solution.read_file("/a"))
