# SPDX-License-Identifier: Apache-2.0
"""The socket that a step sees instead of the agent's: its owner, what passes, and that nothing can hold it up."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from llbkit.llb.ir import ops
from llbkit.worker.base import WorkerError
from llbkit.worker.host.agents import serve
from llbkit.worker.host.ssh import forwarded
from llbkit.worker.runtime.spec import Sandbox, bind
from llbkit.worker.runtime.users import User
from llbkit.worker.session.local import LocalAgent, LocalSession

_TIMEOUT = 20


@contextmanager
def agent(path: Path, answer: Callable[[socket.socket], None]) -> Iterator[Path]:
    """Serve a socket; every connection is ``answer``'s, on a thread of its own."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        threads: list[threading.Thread] = []

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                thread = threading.Thread(target=run, args=(client,))
                threads.append(thread)
                thread.start()

        def run(client: socket.socket) -> None:
            with client:
                client.settimeout(_TIMEOUT)
                answer(client)

        server = threading.Thread(target=accept)
        server.start()
        try:
            yield path
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            server.join()
            for thread in threads:
                thread.join()


def echo(client: socket.socket) -> None:
    while data := client.recv(1 << 16):
        client.sendall(data)


@contextmanager
def connected(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_TIMEOUT)
        client.connect(str(path))
        yield client


def read_all(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(1 << 16), b""))


def forward(source: Path, folder: Path, **options: int):
    return forwarded(LocalAgent(source), folder, "s", **{"uid": 0, "gid": 0, "mode": 0o600, **options})


def test_questions_and_answers_pass(tmp_path) -> None:
    with agent(tmp_path / "a", echo) as real, forward(real, tmp_path) as path, connected(path) as client:
        for text in (b"first", b"second" * 30000):
            client.sendall(text)
            got = b""
            while len(got) < len(text):
                got += client.recv(1 << 16)
            assert got == text


def test_who_has_asked_all_still_gets_the_answer(tmp_path) -> None:
    """The end of the question arrives, and the answer comes after it."""

    def slow(client: socket.socket) -> None:
        question = read_all(client)
        client.sendall(question * 20000)

    with agent(tmp_path / "a", slow) as real, forward(real, tmp_path) as path, connected(path) as client:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"question" * 20000


def test_the_agents_end_ends_the_connection(tmp_path) -> None:
    with (
        agent(tmp_path / "a", lambda client: client.sendall(b"bye")) as real,
        forward(real, tmp_path) as path,
        connected(path) as client,
    ):
        assert read_all(client) == b"bye"


def test_who_does_not_read_holds_up_nobody(tmp_path) -> None:
    """One client asks for much and reads nothing; another is served, and the end is not waited for."""
    stuck = threading.Event()

    def much(client: socket.socket) -> None:
        size = int(client.recv(100))
        client.settimeout(0.2)
        try:
            client.sendall(b"x" * size)
        except OSError:
            stuck.set()

    with ExitStack() as stack:
        real = stack.enter_context(agent(tmp_path / "a", much))
        with forward(real, tmp_path) as path:
            lazy = stack.enter_context(connected(path))
            lazy.sendall(b"50000000")
            assert stuck.wait(_TIMEOUT)
            with connected(path) as client:
                client.sendall(b"10")
                assert read_all(client) == b"x" * 10


def test_an_agent_that_does_not_read_holds_up_nobody(tmp_path) -> None:
    release = threading.Event()
    with agent(tmp_path / "a", lambda client: release.wait(_TIMEOUT) and None) as real:
        with forward(real, tmp_path) as path, connected(path) as client:
            client.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.sendall(b"x" * 10_000_000)
        assert not release.is_set()
        release.set()


def test_without_an_agent_a_connection_is_closed(tmp_path) -> None:
    for gone in (tmp_path / "gone", tmp_path / "no/folder"):
        with forward(gone, tmp_path) as path, connected(path) as client:
            assert client.recv(1) == b""


def test_the_socket_has_owner_and_mode_and_goes_away(tmp_path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    with forward(tmp_path / "a", deep, mode=0o640) as path:
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert not path.exists()


# -- in steps


def mount(**options: object) -> ops.Mount:
    made = ops.SSHOpt(**{"id": "default", "mode": 0o600, **options})  # type: ignore[arg-type]
    return ops.Mount(dest="/run/agent", input=-1, mount_type=ops.MountType.SSH, ssh=made)


PERL = Path("/usr/bin/perl")
ASK = "use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new('/run/agent') or exit 1; "
ASK += "print $s 'hi'; shutdown($s, 1); print <$s>"


@pytest.mark.root
def test_a_step_talks_to_the_agent(bench, tmp_path) -> None:
    with agent(tmp_path / "a", echo) as real:
        session = LocalSession(id="t", ssh={"default": real})
        wanted = mount(uid=1000, gid=50, mode=0o4660)
        printed = bench.output("stat -c '%u:%g %a' /run/agent", wanted, session=session)
        assert printed == "1000:50 660\n"
        result = bench.run("true", mount(id=""), session=session)
        assert not {name for name in bench.top(result[0]) if name.startswith("run")}


@pytest.mark.root
@pytest.mark.skipif(not PERL.exists(), reason="needs a program that speaks to sockets")
@pytest.mark.parametrize(("user", "answer"), [(1000, b"hi"), (0, b"hi"), (1001, b"")])
def test_only_its_owner_and_root_reach_the_agent(runner, tmp_path, user, answer) -> None:
    got: list[bytes] = []

    def run(cancel) -> None:
        with (
            runner.containers.work() as work,
            forwarded(LocalAgent(real), work, "s", uid=1000, gid=0, mode=0o600) as path,
        ):
            root = tmp_path / "root"
            root.mkdir()
            mounts = [bind(path, "/run/agent", readonly=False)]
            for host in (Path("/", name) for name in ("bin", "lib", "lib64", "usr")):
                if host.is_symlink():
                    (root / host.name).symlink_to(os.readlink(host))
                elif host.is_dir():
                    mounts.append(bind(host, str(host), readonly=True))
            sandbox = Sandbox(
                root=root, args=(str(PERL), "-e", ASK), mounts=tuple(mounts), user=User(uid=user)
            )
            runner.containers.run(sandbox, lambda stream, data: got.append(data), cancel, work=work)

    with agent(tmp_path / "a", echo) as real:
        runner.pools.run_sync("exec", run)
    assert b"".join(got) == answer


@pytest.mark.root
def test_a_missing_agent_fails_only_if_it_is_needed(bench) -> None:
    bench.run("fails 'test -e /run/agent'", mount(optional=True))
    with pytest.raises(WorkerError, match="SSH agent other not provided") as caught:
        bench.run("true", mount(id="other"))
    assert "--ssh other" in caught.value.help


# -- what --ssh names


def test_a_socket_is_taken_as_it_is(tmp_path) -> None:
    with agent(tmp_path / "a", echo) as real, serve({"default": [str(real)]}) as sockets:
        assert sockets == {"default": real}


def test_what_does_not_exist_is_named(tmp_path) -> None:
    with (
        pytest.raises(WorkerError, match=r"--ssh default: .*gone") as caught,
        serve({"default": [f"{tmp_path}/gone"]}),
    ):
        pass
    assert caught.value.help
