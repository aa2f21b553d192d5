# SPDX-License-Identifier: Apache-2.0
"""Servers that stand still, drip or never end: cancellation ends every wait, and so does a deadline."""

from __future__ import annotations

import itertools
import socket
import threading
from contextlib import contextmanager

import pytest
from support.remote import FaultyServer, MemoryBlobs, sha256
from support.sockets import deaf_address, raw_server

from llbkit.llb.address.reference import parse
from llbkit.worker.base import SourceError
from llbkit.worker.content.provider import fetch
from llbkit.worker.host.pools import Cancelled, Token
from llbkit.worker.oci import LAYER, MANIFEST, Descriptor
from llbkit.worker.registry import exchange
from llbkit.worker.registry.client import RegistryProvider
from llbkit.worker.registry.dockerconfig import Credentials, DockerConfig
from llbkit.worker.registry.push import Push, Pusher
from llbkit.worker.registry.transport import Transport
from llbkit.worker.session.local import LocalSession
from llbkit.worker.sources.http import HttpSource

BLOB = Descriptor(media_type="x", digest=sha256(b"x"), size=1 << 30)
HOURS = 36_000.0
"""Seconds that our deadlines have here, so that cancellation alone can end a wait."""
HANGS = 60.0
"""Seconds after which a test gives up."""


@pytest.fixture(autouse=True)
def far_deadlines(monkeypatch):
    for name in ("exchange.CONNECT_SECONDS", "exchange.IDLE_SECONDS", "response._PIECE_SECONDS",
                 "response._SMALL_SECONDS", "response._DRAIN_SECONDS"):  # fmt: skip
        monkeypatch.setattr(f"llbkit.worker.registry.{name}", HOURS)


class Clock:
    """The time by which exchanges have their deadlines; it passes only when it is told to."""

    def __init__(self) -> None:
        self._now = 1000.0

    def monotonic(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds
        exchange._watchdog.expire_late()


@pytest.fixture
def clock():
    made = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "time", made)
        yield made
    with exchange._watchdog._changed:
        exchange._watchdog._changed.notify()  # it sleeps by this clock


def silent(connection, head, over):
    over.reached.set()
    over.wait()


def pouring(start: bytes, piece: bytes, pause: float = 0.0):
    """Return an answer that begins with ``start`` and goes on with ``piece`` without end."""

    def answer(connection, head, over):
        connection.sendall(start)
        for number in itertools.count():
            if over.is_set():
                return
            connection.sendall(piece)
            if number == 3:
                over.reached.set()
            if pause:
                over.wait(pause)

    return answer


ENDLESS = {
    "headers awaited": silent,
    "one header after the other": pouring(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n", 0.05),
    "a header letter by letter": pouring(b"HTTP/1.1 200 OK\r\na: ", b"b", 0.05),
    "interim responses": pouring(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.05),
    "a redirect's body": pouring(
        b"HTTP/1.1 307 Go\r\nLocation: /x\r\nContent-Length: 60000\r\n\r\n", b"b", 0.05
    ),
    "a 503 whose body drips": pouring(b"HTTP/1.1 503 Busy\r\nContent-Length: 60000\r\n\r\n", b"b", 0.05),
    "an error's body": pouring(b"HTTP/1.1 403 No\r\n\r\n", b"b", 0.05),
    "a blob that drips": pouring(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n", b"b", 0.05),
    "a blob's chunk size": pouring(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0", 0.05),
    "an endless trailer": pouring(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n", 0.05
    ),
}


def transport(**settings) -> Transport:
    settings.setdefault("credentials", lambda *_: Credentials("me", "pw"))
    settings.setdefault("patience", HOURS)
    return Transport(sleep=lambda seconds: None, **settings)


class Watched(Token):
    """A token that tells when somebody is to be woken by it, or looks at it again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.waited_for = threading.Event()
        self._checks = 0

    def check(self) -> None:
        super().check()
        self._checks += 1
        if self._checks == 20:
            self.waited_for.set()

    @contextmanager
    def on_cancel(self, callback):
        with super().on_cancel(callback):
            self.waited_for.set()
            yield


def check_cancelled(work, reached: threading.Event | None = None) -> None:
    """Run ``work(token)``, cancel it once it is where ``reached`` tells, or waits, and check that it ends as cancelled."""
    token, outcome = Watched(), []

    def run() -> None:
        try:
            work(token)
        except BaseException as error:
            outcome.append(error)
        else:
            outcome.append(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert (reached or token.waited_for).wait(HANGS)
    assert thread.is_alive(), outcome
    token.cancel()
    thread.join(HANGS)
    assert not thread.is_alive()
    assert isinstance(outcome[0], Cancelled), outcome


@pytest.mark.parametrize("name", ENDLESS)
def test_a_pull_is_cancelled_whatever_it_waits_for(name):
    with raw_server(ENDLESS[name]) as address:
        source, ref = RegistryProvider(transport()), parse(f"{address}/a/b:c")
        check_cancelled(lambda token: fetch(MemoryBlobs(), source, ref, BLOB, token), address.reached)


@pytest.mark.parametrize("name", ENDLESS)
def test_what_drips_without_end_meets_a_deadline(name, monkeypatch):
    monkeypatch.setattr("llbkit.worker.registry.response._PIECE_SECONDS", 0.4)
    monkeypatch.setattr("llbkit.worker.registry.response._SMALL_SECONDS", 0.4)
    monkeypatch.setattr("llbkit.worker.registry.response._DRAIN_SECONDS", 0.1)
    monkeypatch.setattr("llbkit.worker.registry.client._RESUMES", 1)
    with raw_server(ENDLESS[name]) as address:
        source, ref = RegistryProvider(transport(patience=0.4)), parse(f"{address}/a/b:c")
        with pytest.raises(SourceError, match=address) as caught:
            fetch(MemoryBlobs(), source, ref, BLOB, Token())
        assert caught.value.help


def test_connecting_is_cancelled():
    with deaf_address() as address:
        source, ref = RegistryProvider(transport()), parse(f"{address}/a/b:c")
        check_cancelled(lambda token: source.resolve(ref, token))


def test_connecting_is_cancelled_just_before_it_begins(monkeypatch):
    token = Token()

    class Late(socket.socket):
        def connect(self, address):
            token.cancel()
            super().connect(address)

    with deaf_address() as address:
        monkeypatch.setattr("llbkit.worker.registry.exchange.socket.socket", Late)
        with pytest.raises(Cancelled):
            RegistryProvider(transport()).resolve(parse(f"{address}/a/b:c"), token)


def test_a_tls_handshake_is_cancelled():
    with raw_server(silent) as address:
        source = HttpSource.__new__(HttpSource)
        source._transport, source._store = transport(), MemoryBlobs()
        check_cancelled(lambda token: source._ask(f"https://{address}/f", {}, None, None, token, None))


def test_resolving_a_name_is_cancelled(monkeypatch):
    over, asked = threading.Event(), threading.Event()

    def resolve(*args, **kwargs):
        asked.set()
        over.wait()
        return []

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    monkeypatch.setattr("llbkit.worker.registry.exchange._numeric", lambda host, port: [])
    try:
        source = RegistryProvider(transport())
        check_cancelled(lambda token: source.resolve(parse("registry.invalid/a:b"), token), asked)
    finally:
        over.set()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_token_server_that_says_nothing_is_cancelled_for_all_who_wait(method):
    who = Credentials("me", "pw") if method == "POST" else Credentials()
    with raw_server(silent) as tokens:
        challenge = {"WWW-Authenticate": f'Bearer realm="http://{tokens}/token"'}
        with FaultyServer(lambda m, p, h, n: (401, dict(challenge), b"")) as server:
            source = RegistryProvider(transport(credentials=lambda *_: who))
            ref = parse(f"{server.address}/a/b:c")
            first = Token()

            def hold() -> None:
                with pytest.raises(Cancelled):
                    source.resolve(ref, first)

            holder = threading.Thread(target=hold)
            holder.start()
            assert tokens.reached.wait(HANGS)
            check_cancelled(lambda token: source.resolve(ref, token))  # waits for the first one's token
            first.cancel()
            holder.join(HANGS)
            assert not holder.is_alive()


def test_a_credential_helper_that_says_nothing_is_cancelled(tmp_path, monkeypatch):
    helper = tmp_path / "docker-credential-slow"
    helper.write_text("#!/bin/sh\nexec sleep 3600\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    config = tmp_path / "config.json"
    config.write_text('{"credsStore": "slow"}')
    check_cancelled(lambda token: DockerConfig(config).credentials("registry.invalid", token))


def reading_nothing(connection, head, over):
    """Take the request for an upload and answer nothing more once bodies come."""
    if head.startswith(b"HEAD"):
        connection.sendall(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
    elif head.startswith(b"POST"):
        connection.sendall(b"HTTP/1.1 202 OK\r\nLocation: /v2/upload\r\nContent-Length: 0\r\n\r\n")
    else:
        over.reached.set()
        over.wait()


def pushed(store: MemoryBlobs, size: int) -> tuple[Descriptor, Push]:
    data = bytes(size)
    blob = Descriptor(media_type=LAYER, digest=store.put(data), size=size)
    manifest = Descriptor(media_type=MANIFEST, digest=store.put(b"{}"), size=2)
    return blob, Push(manifests=[manifest], blobs=[blob])


@pytest.mark.parametrize("size", [10, 1 << 26])
def test_an_upload_that_nobody_reads_is_cancelled(size):
    store = MemoryBlobs()
    _, content = pushed(store, size)
    with raw_server(reading_nothing) as address:
        pusher, ref = Pusher(transport(), store), parse(f"{address}/a/b:c")
        check_cancelled(
            lambda token: pusher.push(
                ref, content, cancel=token, need=lambda blob: None, report=lambda *_: None
            ),
            address.reached,
        )


def test_an_upload_that_fails_stops_its_neighbours():
    store = MemoryBlobs()
    stalled, content = pushed(store, 10)
    bad = Descriptor(media_type=LAYER, digest=store.put(b"bad"), size=3)

    def answer(connection, head, over):
        if bad.digest.encode() in head:
            connection.sendall(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
        else:
            over.wait()

    with raw_server(answer) as address, pytest.raises(SourceError, match="denied access"):
        Pusher(transport(), store).push(
            parse(f"{address}/a/b:c"),
            Push(manifests=content.manifests, blobs=[stalled, bad]),
            cancel=Token(),
            need=lambda blob: None,
            report=lambda *_: None,
        )


def test_a_file_without_a_length_that_stands_still_is_not_kept(database, monkeypatch):
    monkeypatch.setattr("llbkit.worker.registry.response._PIECE_SECONDS", 0.4)
    store = MemoryBlobs()
    source = HttpSource(transport=transport(), store=store, database=database)

    def answer(connection, head, over):
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf")
        over.wait()

    with raw_server(answer) as address, pytest.raises(SourceError, match="timed out"):
        source.resolve(f"http://{address}/f", {}, Token(), session=LocalSession(id="s"))
    assert not store.data


def test_a_connection_is_used_again_after_an_answer_that_was_dismissed():
    ports = set()

    def answer(method, path, headers, number):
        return (503, {}, b"busy" * 10) if number < 4 else (200, {}, b"x" * 10)

    with FaultyServer(answer) as server:
        blob = Descriptor(media_type="x", digest=sha256(b"x" * 10), size=10)
        server.connections = ports
        fetch(MemoryBlobs(), RegistryProvider(transport()), parse(f"{server.address}/a/b:c"), blob, Token())
    assert len(ports) == 1


def test_a_registry_may_take_longer_for_what_means_work(clock):

    def slow(connection, head, over):
        clock.advance(100)
        connection.sendall(b"HTTP/1.1 201 OK\r\nContent-Length: 0\r\n\r\n")

    with raw_server(slow) as address:
        sender = transport(patience=60.0)
        endpoint = sender.endpoints(address)[-1]
        with pytest.raises(SourceError, match="did not respond within 60 seconds"):
            sender.send(endpoint, "PUT", "x", cancel=Token(), retry=False).__enter__()
        with sender.send(endpoint, "PUT", "x", cancel=Token(), retry=False, patience=300.0) as response:
            assert response.status == 201


def test_a_slow_reader_is_no_stall(clock):
    body = bytes(1 << 20)
    with FaultyServer(lambda m, p, h, n: (200, {}, body)) as server:
        sender = transport(patience=60.0)
        with sender.send(sender.endpoints(server.address)[-1], "GET", "x", cancel=Token()) as response:
            clock.advance(2 * HOURS)
            received = b""
            for chunk in response.chunks():
                clock.advance(2 * HOURS)
                received += chunk
    assert received == body
