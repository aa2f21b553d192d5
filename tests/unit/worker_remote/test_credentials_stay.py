# SPDX-License-Identifier: Apache-2.0
"""To whom credentials are sent: the registry and the token server that it names, whatever else asks for them."""

from __future__ import annotations

import base64
import itertools
import json
from contextlib import ExitStack, suppress
from dataclasses import field
from types import SimpleNamespace

import pytest
from support.remote import FaultyServer, MemoryBlobs, sha256

from llbkit.llb.address.reference import parse
from llbkit.records import dataclass
from llbkit.worker.base import SourceError
from llbkit.worker.content.provider import fetch
from llbkit.worker.host.pools import Token
from llbkit.worker.oci import LAYER, MANIFEST, Descriptor
from llbkit.worker.registry.auth import Authorizer
from llbkit.worker.registry.client import RegistryProvider
from llbkit.worker.registry.dockerconfig import Credentials
from llbkit.worker.registry.push import Push, Pusher
from llbkit.worker.registry.transport import Transport
from llbkit.worker.registry.urls import resolve_url, same_origin
from llbkit.worker.session.local import LocalSession
from llbkit.worker.sources.http import HttpSource

BODY = b"the layer"
BLOB = Descriptor(media_type=LAYER, digest=sha256(BODY), size=len(BODY))
ME = Credentials("me", "pass-word")
BASIC = "Basic " + base64.b64encode(b"me:pass-word").decode()
TOKEN = "the-token"
SECRETS = ("pass-word", base64.b64encode(b"me:pass-word").decode(), TOKEN)


def transport(who: Credentials = ME) -> Transport:
    return Transport(credentials=lambda *_: who, sleep=lambda seconds: None)


def leaked(server: FaultyServer) -> list[tuple[str, str]]:
    """Return the requests to a server that hold a secret."""
    return [
        (method, path)
        for method, path, headers in server.requests
        if any(secret in path or secret in json.dumps(headers) for secret in SECRETS)
    ]


def at(host: str, address: str) -> str:
    """Return the server's URL under another name of the loopback host."""
    return f"http://{host}:{address.rpartition(':')[2]}"


SCHEMES = ("Basic", "Bearer")
TARGETS = ("same host", "other port", "other host")
REALMS = ("registry", "token server", "redirect target")
ASKS = ("registry", "redirect target", "both")


def token_answer(*_):
    return 200, {}, json.dumps({"token": TOKEN}).encode()


@dataclass
class Hops:
    """A registry that redirects its blobs to ``target``, and who of them asks for credentials, with which realm."""

    scheme: str
    target: str
    realm: str
    asks: str
    servers: dict[str, FaultyServer] = field(default_factory=dict)

    def challenge(self) -> dict[str, str]:
        if self.scheme == "Basic":
            return {"WWW-Authenticate": 'Basic realm="r"'}
        host = self.servers[self.realm].address
        return {"WWW-Authenticate": f'Bearer realm="http://{host}/token",service="s"'}

    def stored(self, method, path, headers, number):
        if path.startswith("/token"):
            return token_answer()
        if self.asks != "registry" and "authorization" not in headers:
            return 401, self.challenge(), b""
        return 200, {}, BODY

    def registry(self, method, path, headers, number):
        if path.startswith(("/token", "/stored")):
            return self.stored(method, path, headers, number)
        if self.asks != "redirect target" and headers.get("authorization") not in (BASIC, f"Bearer {TOKEN}"):
            return 401, self.challenge(), b""
        base = {
            "same host": f"http://{self.servers['registry'].address}",
            "other port": f"http://{self.servers['redirect target'].address}",
            "other host": at("localhost", self.servers["redirect target"].address),
        }[self.target]
        return 307, {"Location": f"{base}/stored"}, b""


@pytest.mark.parametrize(
    ("scheme", "target", "realm", "asks"), list(itertools.product(SCHEMES, TARGETS, REALMS, ASKS))
)
def test_credentials_never_reach_where_a_registry_redirects_to(scheme, target, realm, asks):
    hops = Hops(scheme, target, realm, asks)
    answers = {"registry": hops.registry, "token server": token_answer, "redirect target": hops.stored}
    with ExitStack() as stack:
        for name, answer in answers.items():
            hops.servers[name] = stack.enter_context(FaultyServer(answer))
        redirected = hops.servers["redirect target"]
        ref = parse(f"{hops.servers['registry'].address}/a/b:c")
        own = target == "same host"
        if own or asks == "registry":
            fetch(MemoryBlobs(), RegistryProvider(transport()), ref, BLOB, Token())
        else:
            with pytest.raises(SourceError, match="authentication required") as caught:
                fetch(MemoryBlobs(), RegistryProvider(transport()), ref, BLOB, Token())
            assert redirected.address.rpartition(":")[2] in str(caught.value)
        reached = leaked(redirected)
        if own or asks != "redirect target":  # the registry itself may name it as its token server
            reached = [request for request in reached if not request[1].startswith("/token")]
        assert not reached


def test_credentials_do_not_come_back_once_a_redirect_has_left_the_registry():
    servers: list[FaultyServer] = []

    def away(method, path, headers, number):
        return 302, {"Location": f"http://{servers[0].address}/back"}, b""

    def registry(method, path, headers, number):
        if path == "/back":
            return 200, {}, BODY
        if "authorization" not in headers:
            return 401, {"WWW-Authenticate": "Basic"}, b""
        return 307, {"Location": f"http://{servers[1].address}/"}, b""

    with FaultyServer(registry) as one, FaultyServer(away) as other:
        servers += [one, other]
        fetch(MemoryBlobs(), RegistryProvider(transport()), parse(f"{one.address}/a/b:c"), BLOB, Token())
        assert "authorization" not in one.requests[-1][2]
        assert not leaked(other)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("tls_first", [True, False])
@pytest.mark.parametrize("asks", [True, False])
def test_credentials_do_not_change_between_tls_and_plain_http(certificate, scheme, tls_first, asks):
    file, context = certificate
    servers: list[FaultyServer] = []

    def challenge(realm: str) -> dict[str, str]:
        return {"WWW-Authenticate": "Basic" if scheme == "Basic" else f'Bearer realm="{realm}/token"'}

    def registry(method, path, headers, number):
        if path.startswith("/token"):
            return token_answer()
        if "authorization" not in headers:
            return 401, challenge(f"http{'s' * tls_first}://{servers[0].address}"), b""
        return 307, {"Location": f"http{'s' * (not tls_first)}://{servers[1].address}/x"}, b""

    def stored(method, path, headers, number):
        if path.startswith("/token"):
            return token_answer()
        if asks and "authorization" not in headers:
            return 401, challenge(f"http{'s' * (not tls_first)}://{servers[1].address}"), b""
        return 200, {}, BODY

    with (
        FaultyServer(registry, tls=context if tls_first else None) as one,
        FaultyServer(stored, tls=None if tls_first else context) as other,
    ):
        servers += [one, other]
        options = SimpleNamespace(http=not tls_first, insecure=False, ca=str(file), mirrors=())
        source = RegistryProvider(
            Transport({one.address: options}, credentials=lambda *_: ME, sleep=lambda seconds: None)
        )
        with pytest.raises(SourceError, match="authentication required") if asks else ExitStack():
            fetch(MemoryBlobs(), source, parse(f"{one.address}/a/b:c"), BLOB, Token())
        assert leaked(one)
        assert not leaked(other)


@pytest.mark.parametrize(("scheme", "answer"), list(itertools.product(SCHEMES, (201, 401))))
def test_an_upload_to_another_host_carries_no_credentials(scheme, answer):
    box: list[FaultyServer] = []

    def elsewhere(method, path, headers, number):
        if answer == 401:
            return 401, {"WWW-Authenticate": f'Bearer realm="http://{box[1].address}/token"'}, b""
        return 201, {}, b""

    def registry(method, path, headers, number):
        if path.startswith("/token"):
            return 200, {}, json.dumps({"token": TOKEN}).encode()
        if "authorization" not in headers:
            realm = f'Bearer realm="http://{box[0].address}/token"' if scheme == "Bearer" else "Basic"
            return 401, {"WWW-Authenticate": realm}, b""
        if method == "HEAD":
            return 404, {}, b""
        if method == "POST":
            return 202, {"Location": f"http://{box[1].address}/upload"}, b""
        return 201, {}, b""

    store = MemoryBlobs()
    store.put(BODY)
    manifest = Descriptor(media_type=MANIFEST, digest=store.put(b"{}"), size=2)
    with FaultyServer(registry) as one, FaultyServer(elsewhere) as other:
        box += [one, other]
        with pytest.raises(SourceError, match="cannot push") if answer == 401 else ExitStack():
            Pusher(transport(), store).push(
                parse(f"{one.address}/a/b:c"),
                Push(manifests=[manifest], blobs=[BLOB]),
                cancel=Token(),
                need=lambda blob: None,
                report=lambda *_: None,
            )
        assert other.requests[0][0] == "PUT"
        assert not leaked(other)


@pytest.mark.parametrize("refusal", ["token", 400, 403, 405])
def test_a_blob_that_may_not_be_mounted_is_sent(refusal):
    def registry(method, path, headers, number):
        if path.startswith("/token"):
            both = path.count("repository") + headers["body"].count("repository") > 1
            return (403, {}, b"") if both and refusal == "token" else token_answer()
        if "mount=" in path and (refusal != "token" or "authorization" not in headers):
            return (refusal, {}, b"") if refusal != "token" else (401, challenge(headers), b"")
        if "authorization" not in headers:
            return 401, challenge(headers), b""
        if method == "HEAD":
            return 404, {}, b""
        return (202, {"Location": "/upload"}, b"") if method == "POST" else (201, {}, b"")

    def challenge(headers):
        return {"WWW-Authenticate": f'Bearer realm="http://{headers["host"]}/token"'}

    store = MemoryBlobs()
    store.put(BODY)
    manifest = Descriptor(media_type=MANIFEST, digest=store.put(b"{}"), size=2)
    with FaultyServer(registry) as server:
        Pusher(transport(), store).push(
            parse(f"{server.address}/a/b:c"),
            Push(manifests=[manifest], blobs=[BLOB], sources={BLOB.digest: [f"{server.address}/a/other"]}),
            cancel=Token(),
            need=lambda blob: None,
            report=lambda *_: None,
        )
        puts = [path for method, path, _ in server.requests if method == "PUT"]
        assert [path.partition("?")[0] for path in puts] == ["/upload", "/v2/a/b/manifests/c"]


def test_the_secret_header_of_a_file_stays_with_its_host(database):
    box: list[FaultyServer] = []
    session = LocalSession(id="s", secrets={"auth": TOKEN.encode})

    def elsewhere(method, path, headers, number):
        if number == 1:
            return 302, {"Location": f"http://{box[0].address}/back"}, b""
        return 200, {}, b""

    def own(method, path, headers, number):
        if path == "/f":
            return 302, {"Location": "/g"}, b""
        if path == "/g":
            return 302, {"Location": f"http://{box[1].address}/h"}, b""
        return 401, {"WWW-Authenticate": f'Bearer realm="http://{box[1].address}/token"'}, b""

    with FaultyServer(own) as one, FaultyServer(elsewhere) as other:
        box += [one, other]
        source = HttpSource(transport=transport(), store=MemoryBlobs(), database=database)
        with pytest.raises(SourceError, match="authentication required"):
            source.resolve(
                f"http://{one.address}/f", {"http.authheadersecret": "auth"}, Token(), session=session
            )
        assert [headers.get("authorization") for _, _, headers in one.requests] == [TOKEN, TOKEN, None]
        assert not leaked(other)


def test_the_user_in_a_files_address_is_sent_to_its_host_alone(database):
    with FaultyServer(lambda m, p, h, n: (200, {}, b"")) as other:

        def own(method, path, headers, number):
            return 302, {"Location": f"http://me:other@{other.address}/"}, b""

        with FaultyServer(own) as one:
            source = HttpSource(transport=transport(), store=MemoryBlobs(), database=database)
            url = f"http://me:pass-word@{one.address}/f"
            source.resolve(url, {}, Token(), session=LocalSession(id="s"))
            assert one.requests[0][2]["authorization"] == BASIC
            assert "authorization" not in other.requests[0][2]


def authorizer(base: str, asked: list, answers) -> Authorizer:
    def ask(method, url, headers, body, cancel):
        asked.append((method, url, dict(headers), body))
        return answers(method, url)

    return Authorizer("r.example", base, lambda *_: ME, ask)


def good(method, url):
    return 200, b'{"token": "t"}', ""


@pytest.mark.parametrize(
    ("base", "realm", "trusted"),
    [
        ("https://r.example", "https://r.example/token", True),
        ("https://r.example", "https://auth.example/token", True),
        ("http://r.example", "http://auth.example/token", True),
        ("http://r.example", "https://auth.example/token", True),
        ("https://r.example", "http://r.example/token", False),
        ("https://r.example", "http://auth.example/token", False),
        ("https://r.example", "ftp://r.example/token", False),
        ("https://r.example", "http://[::1", False),
        ("https://r.example", "https://", False),
        ("https://r.example", "javascript:alert(1)", False),
        ("https://r.example", "https://r.example/" + "x" * 20000, False),
    ],
)
def test_a_realm_is_trusted_as_the_registry_is(base, realm, trusted):
    asked: list = []
    who = authorizer(base, asked, good)
    challenge = [f'Bearer realm="{realm}"']
    if trusted:
        assert who.challenged(challenge, frozenset({"x"}), None, Token())
    else:
        with pytest.raises(SourceError, match=r"r\.example") as caught:
            who.challenged(challenge, frozenset({"x"}), None, Token())
        assert caught.value.help
    assert bool(asked) == trusted


@pytest.mark.parametrize(
    ("location", "kept"),
    [
        ("/elsewhere", True),
        ("https://r.example/x", True),
        ("https://r.example:444/x", False),
        ("http://r.example/x", False),
        ("https://other.example/x", False),
        ("//other.example/x", False),
        ("https://r.example@other.example/x", False),
    ],
)
def test_a_redirected_token_request_keeps_credentials_on_its_origin_only(location, kept):
    asked: list = []

    def answers(method, url):
        if method == "POST":
            return 307, b"", location
        return (307, b"", location) if url.startswith("https://r.example/token") else good(method, url)

    with suppress(SourceError):
        authorizer("https://r.example", asked, answers).challenged(
            ['Bearer realm="https://r.example/token"'], frozenset({"x"}), None, Token()
        )
    assert [method for method, *_ in asked] == ["POST", "GET", "GET"]
    assert ("Authorization" in asked[-1][2]) == kept


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://h", "https://h:443/x", True),
        ("http://h:80", "http://H/x", True),
        ("http://h", "https://h", False),
        ("http://h:1", "http://h:2", False),
        ("http://h", "http://h.", False),
        ("http://a", "http://a\\@b/", True),
        ("http://b", "http://a\\@b/", False),
        ("http://[::1", "http://[::1", False),
        ("http://u:p@h", "http://h", True),
    ],
)
def test_origins_are_compared_as_connections_are_made(one, other, same):
    assert same_origin(one, other) == same


@pytest.mark.parametrize(
    "text", ["http://[::1", "http://a:99999999/", "gopher://x", "http:///x", "x" * 20000]
)
def test_what_is_no_url_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        resolve_url("http://base:1" if "x" * 9 in text else "http://", text)
