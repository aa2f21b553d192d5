# SPDX-License-Identifier: Apache-2.0
"""What comes from the network has limits, and errors say what happened, where, and what to do."""

from __future__ import annotations

import gzip
import json
import socket

import pytest
from support.remote import FaultyServer, MemoryBlobs, sha256
from support.sockets import raw_server

from llbkit.llb.address.reference import parse
from llbkit.worker.base import SourceError
from llbkit.worker.content.provider import fetch
from llbkit.worker.host.pools import Token
from llbkit.worker.oci import LAYER, MANIFEST, Descriptor
from llbkit.worker.registry.auth import parse_challenges
from llbkit.worker.registry.client import RegistryProvider
from llbkit.worker.registry.dockerconfig import ANONYMOUS, Credentials
from llbkit.worker.registry.push import Push, Pusher
from llbkit.worker.registry.transport import Transport
from llbkit.worker.session.local import LocalSession
from llbkit.worker.sources.giterrors import git_failure
from llbkit.worker.sources.giturl import parse as parse_git
from llbkit.worker.sources.http import HttpSource

BODY = b"layer"
BLOB = Descriptor(media_type=LAYER, digest=sha256(BODY), size=len(BODY))
BOMB = gzip.compress(bytes(1 << 26), 9)


def provider(who: Credentials = ANONYMOUS, patience: float = 60.0) -> RegistryProvider:
    return RegistryProvider(
        Transport(credentials=lambda *_: who, sleep=lambda seconds: None, patience=patience)
    )


def failure(address: str, source: RegistryProvider | None = None) -> SourceError:
    with pytest.raises(SourceError) as caught:
        (source or provider()).resolve(parse(f"{address}/a/b:c"), Token())
    error = caught.value
    assert address in str(error)
    assert error.help
    assert len(str(error)) < 1000
    assert str(error).isprintable()
    return error


@pytest.mark.parametrize(
    ("status", "said", "next_step"),
    [
        (400, "HTTP 400", "GET"),
        (401, "authentication required", "docker login"),
        (403, "denied access", "docker login"),
        (404, "not found", "check the spelling"),
        (429, "too many requests", "wait"),
        (500, "failed (HTTP 500", "try again later"),
        (503, "failed (HTTP 503", "try again later"),
    ],
)
def test_each_status_is_told_in_words(status, said, next_step):
    body = b'{"errors":[{"code":"X","message":"because\\u001b[31m ' + b"a" * 5000 + b'"}]}'
    with FaultyServer(lambda m, p, h, n: (status, {}, body)) as server:
        error = failure(server.address)
        assert said in str(error)
        assert next_step in error.help or status == 400


def test_a_refused_connection_says_so():
    error = failure("127.0.0.1:1")
    assert str(error) == "127.0.0.1:1/a/b:c: cannot connect to 127.0.0.1:1: connection refused"


def test_a_server_that_closes_or_speaks_something_else_is_told():
    with raw_server(lambda connection, head, over: connection.shutdown(2)) as address:
        assert "the server closed the connection" in str(failure(address))
    with raw_server(lambda connection, head, over: connection.sendall(b"SSH-2.0-x\r\n\r\n")) as address:
        assert "does not speak HTTP" in str(failure(address))


def test_a_silent_server_is_told_with_the_time_it_had():
    with raw_server(lambda connection, head, over: over.wait()) as address:
        assert "did not respond within 0 seconds" in str(failure(address, provider(patience=0.3)))


def test_certificates_are_told(tmp_path, certificate):
    file, context = certificate
    with FaultyServer(lambda m, p, h, n: (200, {}, BODY), tls=context) as server:

        class Own:
            http, insecure, ca, mirrors = False, False, "", (f"https://{server.address}",)

        untrusted = Transport({"r.test": Own()}, credentials=lambda *_: ANONYMOUS, sleep=lambda s: None)
        endpoint = untrusted.endpoints("r.test")[0]
        with pytest.raises(SourceError, match="certificate verify failed: self-signed certificate") as caught:
            untrusted.send(endpoint, "GET", "x", cancel=Token()).__enter__()
        assert "under [registry." in caught.value.help
        assert "_ssl.c" not in str(caught.value)
        Own.ca = str(file)
        trusting = Transport({server.address: Own()}, credentials=lambda *_: ANONYMOUS)
        with trusting.send(trusting.endpoints(server.address)[-1], "GET", "x", cancel=Token()) as response:
            assert response.status == 200
        Own.ca = str(tmp_path / "none")
        broken = Transport({server.address: Own()}, credentials=lambda *_: ANONYMOUS)
        with pytest.raises(SourceError, match="cannot read the certificate authorities"):
            broken.send(broken.endpoints(server.address)[-1], "GET", "x", cancel=Token()).__enter__()
        assert "closed" in str(failure(server.address))


@pytest.mark.parametrize(
    "said",
    [
        b"Client sent an HTTP request to an HTTPS server.\n",
        b"<html><center>The plain HTTP request was sent to HTTPS port</center></html>",
        b"<p>Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
    ],
)
def test_a_server_that_speaks_tls_is_told_by_its_own_words(said):
    with FaultyServer(lambda m, p, h, n: (400, {}, b"" if m == "HEAD" else said)) as server:
        error = failure(server.address)
        assert "speaks TLS" in f"{error} {error.help}"
        assert "set ca" in error.help
        asked = Transport(credentials=lambda *_: ANONYMOUS)
        with pytest.raises(SourceError, match="speaks TLS, not plain HTTP") as caught:
            asked.send(asked.endpoints(server.address)[0], "GET", "x", cancel=Token()).__enter__()
        assert "set ca" in caught.value.help


@pytest.mark.parametrize("status", [400, 403, 503])
def test_no_error_opens_a_connection_of_its_own(status, monkeypatch):
    """What is asked is asked by the transport, through the proxy and until the deadline that it has."""

    def answer(method, path, headers, number):
        monkeypatch.setattr(
            socket, "create_connection", lambda *a, **k: pytest.fail("a connection past the transport")
        )
        return status, {}, b"no JSON"

    with FaultyServer(answer) as server:
        assert f"HTTP {status}" in str(failure(server.address))


@pytest.mark.parametrize(
    "location", ["http://[::1", "http://", "ftp://x/", "/" + "x" * 20000, "http://x:99999/"]
)
@pytest.mark.parametrize("where", ["redirect", "realm", "upload"])
def test_what_is_no_url_is_refused_with_the_registrys_name(location, where):
    def answer(method, path, headers, number):
        if where == "redirect":
            return 307, {"Location": location}, b""
        if where == "realm":
            return 401, {"WWW-Authenticate": f'Bearer realm="{location}"'}, b""
        if method == "HEAD":
            return 404, {}, b""
        return 202, {"Location": location}, b""

    with FaultyServer(answer) as server:
        if where != "upload":
            if location[0] != "/" or where == "realm":
                failure(server.address)
            return
        store = MemoryBlobs()
        store.put(BODY)
        manifest = Descriptor(media_type=MANIFEST, digest=store.put(b"{}"), size=2)
        with pytest.raises(SourceError, match=server.address) as caught:
            Pusher(Transport(credentials=lambda *_: ANONYMOUS), store).push(
                parse(f"{server.address}/a/b:c"),
                Push(manifests=[manifest], blobs=[BLOB]),
                cancel=Token(),
                need=lambda blob: None,
                report=lambda *_: None,
            )
        assert caught.value.help


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"[]", b"5", b'"x"', b"{}", b"[" * 100_000, b'{"token": 5}', b'{"token": ["x"]}', b'{"token": "a\\nb"}',
        b'{"token": "\\u20ac"}', b'{"token": "\\ud800"}', b'{"token": "' + b"x" * 100_000 + b'"}', b'{"token": "a b"}', b"\xff" * 10,
        b'{"token": "t", "expires_in": {}}', b'{"token": "t", "expires_in": "x"}', b'{"token":"t"}' + b" " * (2 << 20),
    ],
)  # fmt: skip
def test_what_is_no_token_is_refused(answer):
    def answers(method, path, headers, number):
        if path.startswith("/token"):
            return 200, {}, answer
        return 401, {"WWW-Authenticate": f'Bearer realm="http://{headers["host"]}/token"'}, b""

    with FaultyServer(answers) as server:
        error = failure(server.address)
        assert "token" in str(error) or "authentication required" in str(error)


@pytest.mark.parametrize(
    "more",
    [
        {"expires_in": -5},
        {"expires_in": 1e300},
        {"expires_in": 10**400},
        {"issued_at": "9999-99"},
        {"issued_at": 5},
    ],
)
def test_odd_lives_of_tokens_do_no_harm(more):
    def answers(method, path, headers, number):
        if path.startswith("/token"):
            return 200, {}, json.dumps({"token": "t", **more}).encode()
        if headers.get("authorization") == "Bearer t":
            return 200, {}, BODY
        return 401, {"WWW-Authenticate": f'Bearer realm="http://{headers["host"]}/token"'}, b""

    with FaultyServer(answers) as server:
        if more.get("expires_in") == 10**400:
            failure(server.address)
            return
        store = MemoryBlobs()
        fetch(store, provider(), parse(f"{server.address}/a/b:c"), BLOB, Token())
        assert store.exists(BLOB.digest)


@pytest.mark.parametrize(
    "value", ["abc", "-1", "nan", "inf", "1e999", "²", "99999999999", "Wed, 21 Oct 2099 07:28:00 GMT"]
)
@pytest.mark.parametrize("header", ["Retry-After", "X-Content-Length"])
def test_numbers_that_are_none_do_no_harm(header, value):
    waits: list[float] = []
    raw = f"HTTP/1.1 503 Busy\r\n{header.removeprefix('X-')}: {value}\r\nConnection: close\r\n\r\n".encode(
        "latin-1"
    )

    def answer(connection, head, over):
        connection.sendall(raw)
        connection.shutdown(2)

    with raw_server(answer) as address:
        source = RegistryProvider(Transport(credentials=lambda *_: ANONYMOUS, sleep=waits.append))
        failure(address, source)
        assert all(wait <= 30 for wait in waits)
        assert sum(waits) <= 4 * 30 + 1


@pytest.mark.parametrize("length", ["abc", "-5", "²", "", "9" * 30])
def test_a_file_whose_length_is_no_number_is_fetched_or_refused(length, database):
    def answer(connection, head, over):
        connection.sendall(
            f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n".encode("latin-1")
            + BODY
        )
        connection.shutdown(1)

    with raw_server(answer) as address:
        store = MemoryBlobs()
        source = HttpSource(
            transport=Transport(credentials=lambda *_: ANONYMOUS), store=store, database=database
        )
        if length.isdigit() and length.isascii():
            with pytest.raises(SourceError, match="connection closed after 5 of"):
                source.resolve(f"http://{address}/f", {}, Token(), session=LocalSession(id="s"))
        else:
            source.resolve(f"http://{address}/f", {}, Token(), session=LocalSession(id="s"))
            assert store.data == {BLOB.digest: BODY}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"x" * (5 << 20), {}),
        (BOMB, {"Content-Encoding": "gzip"}),
        (BOMB, {"Content-Encoding": "gzip, gzip"}),
        (b"[" * 100_000, {}),
        (b'{"mediaType": "\\ud800"}', {}),
        (b'{"a":' * 100_000, {}),
    ],
)
def test_manifests_are_bounded(body, headers):
    with FaultyServer(lambda m, p, h, n: (405 if m == "HEAD" else 200, dict(headers), body)) as server:
        failure(server.address)


@pytest.mark.parametrize("count", [101, 5000])
def test_many_headers_are_refused(count):
    def answer(connection, head, over):
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * count + b"\r\n")

    with raw_server(answer) as address:
        assert "headers" in str(failure(address))


def test_long_headers_and_lists_of_challenges_take_linear_time():
    for header in (
        " " * 60_000 + "(",
        "," * 60_000,
        "a " * 30_000,
        'B a="' + "\\" * 60_000,
        "x" * 60_000 + "=",
    ):
        assert len(parse_challenges([header] * 50)) <= 16


def test_interim_responses_are_skipped_but_not_without_end():
    reply = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3
    reply += b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"
    with raw_server(lambda connection, head, over: connection.sendall(reply)) as address:
        assert "not found" in str(failure(address))
    storm = b"HTTP/1.1 100 Continue\r\n\r\n" * 1000
    with raw_server(lambda connection, head, over: connection.sendall(storm)) as address:
        assert "interim responses" in str(failure(address))


def test_redirects_end():
    with FaultyServer(lambda m, p, h, n: (302, {"Location": f"/{n}"}, b"")) as server:
        assert "redirects more than 10 times" in str(failure(server.address))
        assert len(server.requests) == 10


def test_an_upload_that_dies_each_time_is_given_up():
    tries = []

    def answer(connection, head, over):
        if head.startswith(b"HEAD"):
            connection.sendall(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
        elif head.startswith(b"POST"):
            connection.sendall(b"HTTP/1.1 202 OK\r\nLocation: /up\r\nContent-Length: 0\r\n\r\n")
        else:
            tries.append(head)
            connection.shutdown(2)

    store = MemoryBlobs()
    data = bytes(1 << 20)
    blob = Descriptor(media_type=LAYER, digest=store.put(data), size=len(data))
    manifest = Descriptor(media_type=MANIFEST, digest=store.put(b"{}"), size=2)
    with (
        raw_server(answer) as address,
        pytest.raises(SourceError, match=f"cannot push to {address}") as caught,
    ):
        Pusher(Transport(credentials=lambda *_: ANONYMOUS, sleep=lambda seconds: None), store).push(
            parse(f"{address}/a/b:c"),
            Push(manifests=[manifest], blobs=[blob]),
            cancel=Token(),
            need=lambda blob: None,
            report=lambda *_: None,
        )
    assert len(tries) == 3
    assert "closed the connection" in str(caught.value)


@pytest.mark.parametrize("secret", [b"a\nb", "€".encode(), b"\xff", b"a\0b", b"x" * 100_000])
def test_a_secret_that_no_header_can_hold_is_refused(database, secret):
    source = HttpSource(
        transport=Transport(credentials=lambda *_: ANONYMOUS), store=MemoryBlobs(), database=database
    )
    session = LocalSession(id="s", secrets={"auth": lambda: secret})
    with pytest.raises(SourceError, match="the secret auth cannot be used as an Authorization header"):
        source.resolve("http://127.0.0.1:1/", {"http.authheadersecret": "auth"}, Token(), session=session)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("fatal: could not read Username for 'x': terminal prompts disabled", "authentication required"),
        ("fatal: unable to access 'x': The requested URL returned error: 403", "access denied"),
        (
            "fatal: unable to access 'x': The requested URL returned error: 503",
            "the server failed (HTTP 503)",
        ),
        (
            "fatal: unable to access 'x': The requested URL returned error: 301",
            "redirects to another address",
        ),
        ("fatal: repository 'http://x/' not found", "repository not found"),
        (
            "fatal: unable to access 'x': Could not resolve host: no.test",
            "cannot resolve the host name no.test",
        ),
        ("fatal: unable to access 'x': Failed to connect to h port 1 after 0 ms: x", "cannot connect"),
        ("fatal: \x1b[31mstrange" + "x" * 5000, "strange"),
    ],
)
def test_what_git_says_is_told_in_words(said, text):
    error = git_failure(parse_git("git://http://h/r.git#x", {}), said)
    assert text in str(error)
    assert error.help
    assert len(str(error)) < 600
    assert str(error).isprintable()
