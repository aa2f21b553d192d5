# SPDX-License-Identifier: Apache-2.0
"""Servers that stand still, drip or never end: cancellation ends every wait, and so does a deadline."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from support.remote import FaultyServer, MemoryBlobs, sha256
from support.sockets import deaf_address, raw_server

from llbkit.llb.reference import parse
from llbkit.worker.base import Session, SourceError
from llbkit.worker.content.dockerconfig import Credentials, DockerConfig
from llbkit.worker.content.provider import fetch
from llbkit.worker.content.push import Push, Pusher
from llbkit.worker.content.registry import RegistryProvider
from llbkit.worker.content.transport import Transport
from llbkit.worker.oci import LAYER, MANIFEST, Descriptor
from llbkit.worker.pools import Cancelled, Token
from llbkit.worker.sources.http import HttpSource

BLOB = Descriptor(media_type="x", digest=sha256(b"x"), size=1 << 30)
PROMPT = 5.0
"""Seconds within which a cancelled wait must have ended: far less than any deadline of ours, far more than needed."""


def silent(connection, head, over):
    over.wait()


def pouring(start: bytes, piece: bytes, pause: float = 0.0):
    """Return an answer that begins with ``start`` and goes on with ``piece`` without end."""

    def answer(connection, head, over):
        connection.sendall(start)
        while not over.is_set():
            connection.sendall(piece)
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
    return Transport(sleep=lambda seconds: None, **settings)


def cancelled_in_time(work) -> None:
    """Run ``work(token)``, cancel it once it waits, and check that it ends at once, as cancelled."""
    token, outcome = Token(), []

    def run() -> None:
        try:
            work(token)
        except BaseException as error:
            outcome.append(error)
        else:
            outcome.append(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(0.4)
    assert thread.is_alive(), outcome
    started = time.monotonic()
    token.cancel()
    thread.join(PROMPT)
    assert not thread.is_alive()
    assert isinstance(outcome[0], Cancelled), outcome
    assert time.monotonic() - started < PROMPT


@pytest.mark.parametrize("name", ENDLESS)
def test_a_pull_is_cancelled_whatever_it_waits_for(name):
    with raw_server(ENDLESS[name]) as address:
        source, ref = RegistryProvider(transport()), parse(f"{address}/a/b:c")
        cancelled_in_time(lambda token: fetch(MemoryBlobs(), source, ref, BLOB, token))


@pytest.mark.parametrize("name", ENDLESS)
def test_what_drips_without_end_meets_a_deadline(name, monkeypatch):
    monkeypatch.setattr("llbkit.worker.content.response._PIECE_SECONDS", 0.4)
    monkeypatch.setattr("llbkit.worker.content.response._SMALL_SECONDS", 0.4)
    monkeypatch.setattr("llbkit.worker.content.response._DRAIN_SECONDS", 0.1)
    monkeypatch.setattr("llbkit.worker.content.registry._RESUMES", 1)
    with raw_server(ENDLESS[name]) as address:
        source, ref = RegistryProvider(transport(patience=0.4)), parse(f"{address}/a/b:c")
        with pytest.raises(SourceError, match=address) as caught:
            fetch(MemoryBlobs(), source, ref, BLOB, Token())
        assert caught.value.help


def test_connecting_is_cancelled():
    with deaf_address() as address:
        source, ref = RegistryProvider(transport()), parse(f"{address}/a/b:c")
        cancelled_in_time(lambda token: source.resolve(ref, token))


def test_connecting_is_cancelled_just_before_it_begins(monkeypatch):
    token = Token()

    class Late(socket.socket):
        def connect(self, address):
            token.cancel()
            super().connect(address)

    with deaf_address() as address:
        monkeypatch.setattr("llbkit.worker.content.exchange.socket.socket", Late)
        with pytest.raises(Cancelled):
            RegistryProvider(transport()).resolve(parse(f"{address}/a/b:c"), token)


def test_a_tls_handshake_is_cancelled():
    with raw_server(silent) as address:
        source = HttpSource.__new__(HttpSource)
        source._transport, source._store = transport(), MemoryBlobs()
        cancelled_in_time(lambda token: source._ask(f"https://{address}/f", {}, None, None, token, None))


def test_resolving_a_name_is_cancelled(monkeypatch):
    over = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *args, **kwargs: over.wait(30) and [])
    monkeypatch.setattr("llbkit.worker.content.exchange._numeric", lambda host, port: [])
    try:
        source = RegistryProvider(transport())
        cancelled_in_time(lambda token: source.resolve(parse("registry.invalid/a:b"), token))
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
            cancelled_in_time(lambda token: source.resolve(ref, token))  # waits for the first one's token
            first.cancel()
            holder.join(PROMPT)
            assert not holder.is_alive()


def test_a_credential_helper_that_says_nothing_is_cancelled(tmp_path, monkeypatch):
    helper = tmp_path / "docker-credential-slow"
    helper.write_text("#!/bin/sh\nsleep 60\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    config = tmp_path / "config.json"
    config.write_text('{"credsStore": "slow"}')
    cancelled_in_time(lambda token: DockerConfig(config).credentials("registry.invalid", token))


def reading_nothing(connection, head, over):
    """Take the request for an upload and answer nothing more once bodies come."""
    if head.startswith(b"HEAD"):
        connection.sendall(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
    elif head.startswith(b"POST"):
        connection.sendall(b"HTTP/1.1 202 OK\r\nLocation: /v2/upload\r\nContent-Length: 0\r\n\r\n")
    else:
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
        cancelled_in_time(
            lambda token: pusher.push(
                ref, content, cancel=token, need=lambda blob: None, report=lambda *_: None
            )
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
    monkeypatch.setattr("llbkit.worker.content.response._PIECE_SECONDS", 0.4)
    store = MemoryBlobs()
    source = HttpSource(transport=transport(), store=store, database=database)

    def answer(connection, head, over):
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf")
        over.wait()

    with raw_server(answer) as address, pytest.raises(SourceError, match="timed out"):
        source.resolve(f"http://{address}/f", {}, Token(), session=Session(id="s"))
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


def test_a_registry_may_take_longer_for_what_means_work(monkeypatch):
    monkeypatch.setattr("llbkit.worker.content.exchange.IDLE_SECONDS", 0.2)

    def slow(connection, head, over):
        over.wait(0.8)
        connection.sendall(b"HTTP/1.1 201 OK\r\nContent-Length: 0\r\n\r\n")

    with raw_server(slow) as address:
        sender = transport(patience=0.2)
        endpoint = sender.endpoints(address)[-1]
        with pytest.raises(SourceError, match="did not respond"):
            sender.send(endpoint, "PUT", "x", cancel=Token(), retry=False).__enter__()
        with sender.send(endpoint, "PUT", "x", cancel=Token(), retry=False, patience=30.0) as response:
            assert response.status == 201


def test_a_slow_reader_is_no_stall(monkeypatch):
    monkeypatch.setattr("llbkit.worker.content.response._PIECE_SECONDS", 0.2)
    body = bytes(1 << 20)
    with FaultyServer(lambda m, p, h, n: (200, {}, body)) as server:
        sender = transport(patience=0.2)
        with sender.send(sender.endpoints(server.address)[-1], "GET", "x", cancel=Token()) as response:
            time.sleep(0.4)
            received = b""
            for chunk in response.chunks():
                time.sleep(0.3)
                received += chunk
    assert received == body
