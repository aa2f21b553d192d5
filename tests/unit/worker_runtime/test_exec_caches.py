# SPDX-License-Identifier: Apache-2.0
"""Cache mounts: who shares which directory, who waits for whom, and what a fresh one holds."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from contextlib import ExitStack, contextmanager, suppress

import pytest

from llbkit.llb.ir import ops
from llbkit.llb.ir.ops import CacheSharing
from llbkit.worker.base import WorkerError
from llbkit.worker.host.pools import Cancelled, Token
from llbkit.worker.state.cachemounts import CacheMounts, key_of

pytestmark = pytest.mark.root

_TIMEOUT = 30


def cache(
    dest: str, name: str = "c", *, sharing: CacheSharing = CacheSharing.SHARED, **fields: object
) -> ops.Mount:
    arguments = {"input": -1, "output": -1, **fields}
    options = ops.CacheOpt(id=name, sharing=sharing)
    return ops.Mount(dest=dest, mount_type=ops.MountType.CACHE, cache=options, **arguments)  # type: ignore[arg-type]


async def together(*steps: object) -> list[object]:
    async with asyncio.timeout(_TIMEOUT):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(step) for step in steps]  # type: ignore[arg-type]
        return [task.result() for task in tasks]


def meet(name: str) -> str:
    """A script of two steps that end only if they run at the same time in one directory."""
    other = {"a": "b", "b": "a"}[name]
    return (
        f"true > /c/{name}; i=0; until test -e /c/{other}; do i=$((i+1)); test $i -lt 500; sleep 0.02; done"
    )


# -- as steps use them


def test_a_cache_outlives_steps_and_is_in_no_result(bench) -> None:
    bench.run("echo kept > /c/f", cache("/c", "outlives"))
    result = bench.run("cat /other/f > /copy", cache("/other", "outlives"))
    assert bench.text(result[0], "copy") == "kept\n"
    assert not {name for name in bench.top(result[0]) if name.startswith("other")}
    assert bench.output("ls /c", cache("/c", "another")) == ""


def test_shared_users_are_in_one_directory_at_the_same_time(bench) -> None:
    mount = cache("/c", "together")
    asyncio.run(together(bench.start(meet("a"), mount), bench.start(meet("b"), mount)))


def test_private_users_get_directories_of_their_own_and_find_them_again(bench) -> None:
    mount = cache("/c", "private", sharing=CacheSharing.PRIVATE)
    script = 'test -z "$(ls /c)"; true > /c/%s; sleep 0.3; ls /c'

    async def both() -> None:
        steps = [Output() for _ in range(2)]
        await together(*(bench.start(script % name, mount, step=steps[i]) for i, name in enumerate("ab")))
        assert [bytes(step.text) for step in steps] == [b"a\n", b"b\n"]

    asyncio.run(both())
    assert bench.output("ls /c", mount).strip() in ("a", "b")


class Output:
    """A step that keeps its standard output."""

    name = "a step"

    def __init__(self) -> None:
        self.text = bytearray()

    def log(self, stream: int, data: bytes) -> None:
        if stream == 1:
            self.text += data

    def status(self, id: str, name: str, current: int, total: int, *, done: bool = False) -> None:  # noqa: A002
        """Of no interest."""


def test_locked_users_take_turns(bench) -> None:
    mount = cache("/c", "locked", sharing=CacheSharing.LOCKED)
    script = "mkdir /c/held; sleep 0.05; rm -r /c/held"
    asyncio.run(together(*(bench.start(script, mount) for _ in range(3))))


def test_a_cache_named_twice_by_one_step_is_one_directory(bench) -> None:
    for sharing in CacheSharing:
        mounts = [cache(place, f"twice-{sharing.name}", sharing=sharing) for place in ("/a", "/b")]
        (result,) = asyncio.run(together(bench.start("echo x > /a/f; cat /b/f > /copy", *mounts)))
        assert bench.text(result[0], "copy") == "x\n"  # type: ignore[index]


class Meeting(CacheMounts):
    """Whoever holds a first cache waits a moment for the other to hold one as well."""

    def __init__(self, root) -> None:
        super().__init__(root)
        self._barrier = threading.Barrier(2)

    @contextmanager
    def acquire(self, *arguments, **fields):
        with super().acquire(*arguments, **fields) as path:
            with suppress(threading.BrokenBarrierError):
                self._barrier.wait(0.2)
            yield path


def test_steps_that_want_the_same_caches_in_another_order_do_not_wait_for_each_other(
    bench, monkeypatch
) -> None:
    monkeypatch.setattr(bench, "caches", Meeting(bench.state.caches))
    first = [cache(place, name, sharing=CacheSharing.LOCKED) for place, name in (("/1", "x"), ("/2", "y"))]
    second = [cache(place, name, sharing=CacheSharing.LOCKED) for place, name in (("/1", "y"), ("/2", "x"))]
    asyncio.run(together(*(bench.start("true", *mounts) for mounts in (first, second))))


def test_waiting_for_a_locked_cache_can_be_cancelled(bench) -> None:
    mount = cache("/c", "waited", sharing=CacheSharing.LOCKED)

    async def wait() -> None:
        with bench.caches.acquire("waited", CacheSharing.LOCKED, Token()):
            task = asyncio.create_task(bench.start("true", mount))
            await asyncio.sleep(0.2)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(wait())
    bench.run("true", mount)


def test_a_read_only_cache_cannot_be_written(bench) -> None:
    bench.run("echo x > /c/f", cache("/c", "ro"))
    bench.run("cat /c/f; fails 'echo y > /c/f'; fails 'rm /c/f'", cache("/c", "ro", readonly=True))


def test_a_fresh_cache_holds_a_copy_of_what_it_starts_from(bench) -> None:
    def fill(root) -> None:
        seed = root / "seed"
        seed.mkdir()
        os.chown(seed, 1000, 50)
        seed.chmod(0o2770)
        (seed / "tool").write_text("#!/bin/sh\n")
        os.chown(seed / "tool", 1000, 1001)
        (seed / "tool").chmod(0o4755)
        os.utime(seed / "tool", ns=(10**18, 10**18))
        os.setxattr(seed / "tool", "user.mark", b"x")
        os.link(seed / "tool", seed / "twin")
        (seed / "link").symlink_to("/etc/passwd")
        os.mkfifo(seed / "pipe")

    start = bench.snapshot(fill)
    mount = cache("/c", "seeded", input=1, selector="/seed")
    script = "stat -c '%n %u:%g %a %h %Y' /c /c/tool; test -p /c/pipe"
    printed = bench.output(script, mount, inputs=(start,)).split()
    assert printed[:3] == ["/c", "1000:50", "2770"]
    assert printed[5:] == ["/c/tool", "1000:1001", "4755", "2", "1000000000"]
    with bench.caches.acquire("seeded", CacheSharing.SHARED, Token(), base=repr(start) + "/seed") as path:
        assert os.getxattr(path / "tool", "user.mark") == b"x"
        assert os.readlink(path / "link") == "/etc/passwd"
    bench.run("rm /c/twin; echo new > /c/new", mount, inputs=(start,))
    assert bench.output("ls /c", mount, inputs=(start,)).split() == ["link", "new", "pipe", "tool"]
    assert bench.inside(start, lambda root: (root / "seed/twin").exists())


def test_a_cache_cannot_start_from_a_file(bench) -> None:
    start = bench.snapshot(lambda root: (root / "f").write_text("x"))
    with pytest.raises(WorkerError, match="directory"):
        bench.run("true", cache("/c", "file", input=1, selector="/f"), inputs=(start,))


# -- as a store


@pytest.fixture
def caches(tmp_path):
    return CacheMounts(tmp_path / "caches")


def test_a_first_use_that_fails_half_way_starts_again(caches) -> None:
    def broken(directory) -> None:
        (directory / "half").touch()
        raise RuntimeError("the disk is on fire")

    with (
        pytest.raises(RuntimeError),
        caches.acquire("c", CacheSharing.SHARED, Token(), base="b", fill=broken),
    ):
        pass
    with caches.acquire(
        "c", CacheSharing.SHARED, Token(), base="b", fill=lambda d: (d / "whole").touch()
    ) as path:
        assert os.listdir(path) == ["whole"]


def test_many_first_users_fill_once(caches) -> None:
    filled: list[str] = []
    barrier = threading.Barrier(4)
    seen: list[list[str]] = []

    def use() -> None:
        barrier.wait()
        with caches.acquire(
            "c", CacheSharing.SHARED, Token(), base="b", fill=lambda d: filled.append(str(d))
        ) as path:
            seen.append(os.listdir(path))

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(filled) == 1
    assert seen == [[]] * 4


@pytest.mark.parametrize("holder", list(CacheSharing))
@pytest.mark.parametrize("comer", list(CacheSharing))
def test_who_waits_for_whom(caches, holder, comer) -> None:
    """Only one who wants to be alone waits, or one who comes upon such a one; private users go elsewhere."""
    waits = comer is CacheSharing.LOCKED or (
        comer is CacheSharing.SHARED and holder is not CacheSharing.SHARED
    )
    token = Token()
    with ExitStack() as stack:
        stack.enter_context(caches.acquire("c", holder, Token()))
        timer = threading.Timer(0.15 if waits else _TIMEOUT, token.cancel)
        timer.start()
        stack.callback(timer.cancel)
        if waits:
            with pytest.raises(Cancelled), caches.acquire("c", comer, token):
                pass
        else:
            stack.enter_context(caches.acquire("c", comer, token))
    with caches.acquire("c", CacheSharing.LOCKED, Token()):
        pass


def test_bases_and_names_cannot_be_confused() -> None:
    keys = {
        key_of(name, base) for name, base in (("a", "b"), ("a,b", ""), ("", "a,b"), ('a","b', ""), ("ab", ""))
    }
    assert len(keys) == 5


def test_a_cache_in_use_is_not_removed(caches) -> None:
    with caches.acquire("c", CacheSharing.SHARED, Token()) as path:
        assert not caches.remove(key_of("c", ""))
        assert [info.in_use for info in caches.list()] == [True]
        (path / "f").write_bytes(b"x" * 5000)
        assert caches.list()[0].size >= 5000
    assert caches.remove(key_of("c", ""))
    assert caches.list() == ()
    with caches.acquire("c", CacheSharing.SHARED, Token()) as path:
        assert os.listdir(path) == []
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
