# SPDX-License-Identifier: Apache-2.0
"""Proxies from the environment, for registries, files and git repositories."""

from __future__ import annotations

import pytest
from support.proxy import proxy
from support.remote import FaultyServer, MemoryBlobs, sha256

from llbkit.llb.address.reference import parse
from llbkit.worker.base import SourceError
from llbkit.worker.content.provider import fetch
from llbkit.worker.host.pools import Token
from llbkit.worker.oci import Descriptor
from llbkit.worker.registry.client import RegistryProvider
from llbkit.worker.registry.dockerconfig import ANONYMOUS
from llbkit.worker.registry.proxies import proxy_for, proxy_variables
from llbkit.worker.registry.transport import Transport
from llbkit.worker.session.local import LocalSession
from llbkit.worker.sources.http import HttpSource

NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class Plain:
    http = True
    insecure = False
    ca = ""
    mirrors = ()


def transport(*plain: str) -> Transport:
    return Transport(
        {host: Plain() for host in plain}, credentials=lambda *_: ANONYMOUS, sleep=lambda seconds: None
    )


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy"])
def test_a_registry_is_reached_through_a_proxy(monkeypatch, variable):
    body = b"layer"
    with (
        FaultyServer(lambda m, p, h, n: (200, {}, body)) as server,
        proxy({"registry.test:80": server.address}) as through,
    ):
        monkeypatch.setenv(variable, f"http://me:p%40ss@{through.address}")
        store, blob = MemoryBlobs(), Descriptor(media_type="x", digest=sha256(body), size=len(body))
        source = RegistryProvider(transport("registry.test"))
        fetch(store, source, parse("registry.test/a/b:c"), blob, Token())
        assert store.exists(blob.digest)
        assert through.seen[0].startswith("GET http://registry.test/v2/a/b/blobs/")
        assert through.authorizations == ["Basic bWU6cEBzcw=="]


def test_a_file_is_fetched_through_a_proxy(monkeypatch, database):
    with (
        FaultyServer(lambda m, p, h, n: (200, {}, b"data")) as server,
        proxy({"files.test:8000": server.address}) as through,
    ):
        monkeypatch.setenv("HTTP_PROXY", through.address)  # without a scheme, as curl and Go allow
        source = HttpSource(transport=transport(), store=MemoryBlobs(), database=database)
        source.resolve("http://files.test:8000/f?x=y", {}, Token(), session=LocalSession(id="s"))
        assert through.seen == ["GET http://files.test:8000/f?x=y HTTP/1.1"]


def test_tls_goes_through_a_tunnel(monkeypatch, database):
    with (
        FaultyServer(lambda m, p, h, n: (200, {}, b"data")) as server,
        proxy({"files.test:443": server.address}) as through,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://{through.address}")
        source = HttpSource(transport=transport(), store=MemoryBlobs(), database=database)
        with pytest.raises(SourceError, match=r"no TLS connection to files\.test through the proxy"):
            source.resolve("https://files.test/f", {}, Token(), session=LocalSession(id="s"))
        assert through.seen[0].startswith("CONNECT files.test:443 HTTP/1.")
        assert not server.requests


@pytest.mark.parametrize("url", ["http://files.test/f", "https://files.test/f"])
def test_a_proxy_that_wants_credentials_says_so(monkeypatch, database, url):
    with proxy({}, refuse=407) as through:
        monkeypatch.setenv("HTTP_PROXY", f"http://{through.address}")
        monkeypatch.setenv("HTTPS_PROXY", f"http://{through.address}")
        source = HttpSource(transport=transport(), store=MemoryBlobs(), database=database)
        with pytest.raises(SourceError, match="407") as caught:
            source.resolve(url, {}, Token(), session=LocalSession(id="s"))
        assert "proxy" in f"{caught.value}"
        assert caught.value.help


def test_a_proxy_that_is_not_there_is_named(monkeypatch, database):
    monkeypatch.setenv("HTTP_PROXY", "http://me:hidden@127.0.0.1:1")
    source = HttpSource(transport=transport(), store=MemoryBlobs(), database=database)
    with pytest.raises(SourceError, match=r"through the proxy 127\.0\.0\.1:1: connection refused") as caught:
        source.resolve("http://files.test/f", {}, Token(), session=LocalSession(id="s"))
    assert "hidden" not in f"{caught.value}{caught.value.help}"
    assert "HTTP_PROXY" in caught.value.help


@pytest.mark.parametrize("value", ["socks5://me:hidden@h:1", "http://[::1", "http://", "ftp://h"])
def test_what_is_no_proxy_is_told(monkeypatch, value):
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(SourceError, match="HTTPS_PROXY") as caught:
        proxy_for("https://files.test/")
    assert "hidden" not in f"{caught.value}{caught.value.help}"


@pytest.mark.parametrize(
    ("url", "exceptions", "direct"),
    [
        ("http://a.test/", "", False),
        ("http://127.0.0.1:5000/", "", True),
        ("http://localhost/", "", True),
        ("http://[::1]/", "", True),
        ("http://a.test/", "*", True),
        ("http://a.test/", "b.test, a.test", True),
        ("http://x.a.test/", "a.test", True),
        ("http://xa.test/", "a.test", False),
        ("http://a.test/", ".a.test", False),
        ("http://x.a.test/", ".a.test", True),
        ("http://x.a.test/", "*.a.test", True),
        ("http://A.TEST/", "a.test", True),
        ("http://a.test:81/", "a.test:81", True),
        ("http://a.test:82/", "a.test:81", False),
        ("http://a.test/", "a.test:80", True),
        ("http://10.1.2.3/", "10.0.0.0/8", True),
        ("http://11.1.2.3/", "10.0.0.0/8", False),
        ("http://10.1.2.3/", "10.1.2.3", True),
        ("http://[fe80::1]/", "fe80::/10", True),
        ("http://a.test/", "10.0.0.0/99,,x", False),
    ],
)
def test_what_is_asked_directly(monkeypatch, url, exceptions, direct):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test:1")
    monkeypatch.setenv("NO_PROXY", exceptions)
    assert (proxy_for(url) == "") == direct


def test_git_is_told_in_the_case_that_it_reads(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://p:1")
    monkeypatch.setenv("no_proxy", "x")
    assert proxy_variables() == {"http_proxy": "http://p:1", "no_proxy": "x"}
