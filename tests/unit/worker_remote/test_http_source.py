# SPDX-License-Identifier: Apache-2.0
"""Files over HTTP."""

from __future__ import annotations

import hashlib

import pytest
from support.remote import FaultyServer, sha256

from llbkit.worker.base import SourceError
from llbkit.worker.content.provider import WrongDigestError
from llbkit.worker.session.local import LocalSession
from llbkit.worker.sources.http import HttpSource

SESSION = LocalSession(id="s", secrets={"auth": lambda: b"Bearer x\n"})


@pytest.fixture
def source(transport, store, database):
    return HttpSource(transport=transport, store=store, database=database)


def serve(body=b"data", **headers):
    def answer(method, path, request, number):
        extra = {key.replace("_", "-"): value for key, value in headers.items()}
        if request.get("if-none-match") and request["if-none-match"] == headers.get("ETag"):
            return 304, {"ETag": headers["ETag"]}, b""
        return 200, extra, body

    return FaultyServer(answer)


def test_an_unchanged_file_is_not_sent_again(source, token, store):
    with serve(ETag='"1"', Last_Modified="Sun, 13 Sep 2020 12:26:40 GMT") as server:
        url = f"http://{server.address}/a/file%20name.txt?x=y"
        first = source.resolve(url, {}, token, session=SESSION)
        assert (first.filename, first.last_modified) == ("file name.txt", 1600000000)
        assert source.resolve(url, {}, token, session=SESSION) == first
        assert server.requests[1][2]["if-none-match"] == '"1"'
        store.data.clear()
        source.fetch(url, {}, token, session=SESSION)
        assert store.read(first.digest) == b"data"


def test_a_known_checksum_asks_nobody_the_second_time(source, token):
    with serve() as server:
        attrs = {"http.checksum": sha256(b"data")}
        for _ in range(2):
            source.resolve(f"http://{server.address}/f", attrs, token, session=SESSION)
        assert len(server.requests) == 1


@pytest.mark.parametrize("algorithm", ["sha384", "sha512"])
def test_a_checksum_may_be_of_another_algorithm(source, token, store, algorithm):
    right = f"{algorithm}:{hashlib.new(algorithm, b'data').hexdigest()}"
    wrong = f"{algorithm}:{hashlib.new(algorithm, b'x').hexdigest()}"
    with serve(ETag='"1"') as server:
        url = f"http://{server.address}/f"
        for _ in range(2):
            found = source.resolve(url, {"http.checksum": right}, token, session=SESSION)
            assert found.digest == sha256(b"data")
        assert len(server.requests) == 1
        with pytest.raises(WrongDigestError, match=f"expected {wrong}, got {right}"):
            source.resolve(url, {"http.checksum": wrong}, token, session=SESSION)
        store.data.clear()
        with pytest.raises(WrongDigestError, match=f"expected {wrong}, got {right}"):
            source.resolve(url, {"http.checksum": wrong}, token, session=SESSION)
        assert source.fetch(url, {"http.checksum": right}, token, session=SESSION).digest == found.digest
        assert store.read(found.digest) == b"data"


@pytest.mark.parametrize("text", ["md5:0", "sha512:00", "sha384:" + "z" * 96, "x"])
def test_what_is_no_checksum_is_refused(source, token, text):
    with serve() as server, pytest.raises(SourceError, match="digest"):
        source.resolve(f"http://{server.address}/f", {"http.checksum": text}, token, session=SESSION)
    assert server.requests == []


def test_a_signature_is_not_passed_over(source, token):
    attrs = {"http.sig.pubkey": "k", "http.sig.signature": "s"}
    with serve() as server, pytest.raises(SourceError, match=r"http\.sig\.pubkey is not supported"):
        source.resolve(f"http://{server.address}/f", attrs, token, session=SESSION)
    assert server.requests == []


def test_a_wrong_checksum_is_an_error(source, token):
    with serve() as server, pytest.raises(WrongDigestError):
        source.resolve(f"http://{server.address}/f", {"http.checksum": sha256(b"x")}, token, session=SESSION)


@pytest.mark.parametrize(
    ("attrs", "header", "name"),
    [
        ({}, 'attachment; filename="../../etc/x.tgz"', "x.tgz"),
        ({"http.filename": "mine"}, "attachment; filename=theirs", "mine"),
        ({"http.filename": ".."}, "", "download"),
    ],
)
def test_the_name_never_leaves_the_directory(source, token, attrs, header, name):
    with serve(**({"Content_Disposition": header} if header else {})) as server:
        found = source.resolve(f"http://{server.address}/", attrs, token, session=SESSION)
        assert found.filename == name


def test_headers_and_the_secret_are_sent(source, token):
    attrs = {"http.header.accept": "text/x", "http.authheadersecret": "auth"}
    with serve() as server:
        source.resolve(f"http://{server.address}/f", attrs, token, session=SESSION)
        headers = server.requests[0][2]
        assert (headers["accept"], headers["authorization"]) == ("text/x", "Bearer x")


@pytest.mark.parametrize("answer", [(404, {}, b""), (200, {"cut": "2"}, b"data")])
def test_failures_name_the_address(source, token, answer, store):
    with (
        FaultyServer(lambda m, p, h, n: (answer[0], dict(answer[1]), answer[2])) as server,
        pytest.raises(SourceError, match="/f: "),
    ):
        source.resolve(f"http://{server.address}/f", {}, token, session=SESSION)
    assert not store.data
