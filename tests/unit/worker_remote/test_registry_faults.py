# SPDX-License-Identifier: Apache-2.0
"""What registries do wrong, and how they ask who we are."""

from __future__ import annotations

import base64
import json

import pytest
from support.remote import FaultyServer, MemoryBlobs, sha256

from llbkit.llb.address.reference import parse
from llbkit.worker.base import SourceError
from llbkit.worker.content.provider import WrongDigestError, descriptor_from, fetch, objects_in
from llbkit.worker.host.pools import Cancelled, Token
from llbkit.worker.oci import MANIFEST, Descriptor
from llbkit.worker.registry.auth import parse_challenges
from llbkit.worker.registry.client import RegistryProvider
from llbkit.worker.registry.dockerconfig import Credentials, DockerConfig
from llbkit.worker.registry.transport import Transport

BODY = bytes(range(256)) * 4000
BLOB = Descriptor(media_type="x", digest=sha256(BODY), size=len(BODY))
MANIFEST_BODY = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST}).encode()


def provider(credentials=None, options=None) -> RegistryProvider:
    return RegistryProvider(
        Transport(
            options or {}, credentials=credentials or (lambda *_: Credentials()), sleep=lambda seconds: None
        )
    )


def get(server: FaultyServer, source: RegistryProvider | None = None) -> MemoryBlobs:
    store = MemoryBlobs()
    fetch(store, source or provider(), parse(f"{server.address}/a/b:c"), BLOB, Token())
    return store


def test_a_broken_download_goes_on_where_it_stopped():
    def answer(method, path, headers, number):
        if number == 1:
            return 200, {"cut": "500000"}, BODY
        start = int(headers["range"].removeprefix("bytes=").rstrip("-"))
        return 206, {}, BODY[start:]

    with FaultyServer(answer) as server:
        assert get(server).exists(BLOB.digest)
        assert 0 < int(server.requests[1][2]["range"][6:-1]) <= 500000


def test_a_server_without_ranges_is_read_again_from_the_start():
    with FaultyServer(lambda m, p, h, n: (200, {"cut": "300000"} if n == 1 else {}, BODY)) as server:
        assert get(server).read(BLOB.digest) == BODY


def test_a_connection_that_always_breaks_is_an_error():
    with FaultyServer(lambda m, p, h, n: (200, {"cut": "10"}, BODY)) as server, pytest.raises(SourceError):
        get(server)


@pytest.mark.parametrize("body", [b"x" * len(BODY), BODY + b"x", BODY[:-1]])
def test_wrong_content_is_never_stored(body):
    store = MemoryBlobs()
    with FaultyServer(lambda m, p, h, n: (200, {}, body)) as server, pytest.raises(SourceError):
        fetch(store, provider(), parse(f"{server.address}/a/b:c"), BLOB, Token())
    assert not store.data


def test_a_manifest_with_another_digest_is_refused():
    with FaultyServer(lambda m, p, h, n: (200, {}, MANIFEST_BODY)) as server:
        ref = parse(f"{server.address}/a/b@sha256:{'0' * 64}")
        with pytest.raises(WrongDigestError) as caught:
            provider().resolve(ref, Token())
        assert caught.value.actual == sha256(MANIFEST_BODY)


def test_too_many_requests_are_repeated_then_told():
    with FaultyServer(lambda m, p, h, n: (429, {"Retry-After": "0"}, b"")) as server:
        with pytest.raises(SourceError, match="too many requests") as caught:
            provider().resolve(parse(f"{server.address}/a/b:c"), Token())
        assert len(server.requests) == 5
        assert "docker login" in caught.value.help


def test_server_errors_are_repeated_then_told():
    with FaultyServer(lambda m, p, h, n: (503, {}, b"")) as server:
        with pytest.raises(SourceError, match="HTTP 503"):
            provider().resolve(parse(f"{server.address}/a/b:c"), Token())
        assert len(server.requests) == 5


def test_a_server_that_fails_four_times_is_enough():
    with FaultyServer(lambda m, p, h, n: (500 if n < 5 else 200, {}, BODY)) as server:
        assert get(server).data


def test_a_connection_that_always_breaks_is_told_in_words():
    with FaultyServer(lambda m, p, h, n: (200, {"cut": "1000"}, BODY)) as server:
        with pytest.raises(SourceError, match=r"connection closed after \d+ of \d+ bytes") as caught:
            get(server)
        assert "Incomplete" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"digest": "sha256:x/../../y"}, "invalid digest"),
        ({"digest": None}, "invalid digest"),
        ({"size": -1}, "invalid size"),
        ({"size": "7"}, "invalid size"),
        ({"mediaType": ...}, "without 'mediaType'"),
        ({"platform": 3}, "invalid descriptor"),
    ],
)
def test_a_wrong_descriptor_is_refused(change, said):
    whole = {"mediaType": "x", "digest": BLOB.digest, "size": 1} | change
    with pytest.raises(SourceError, match=said) as caught:
        descriptor_from("the manifest", {key: value for key, value in whole.items() if value is not ...})
    assert caught.value.help


@pytest.mark.parametrize("items", [5, "x", {"a": 1}, [None], [[]]])
def test_a_list_that_holds_no_objects_is_refused(items):
    with pytest.raises(SourceError, match="layers is not a list of objects"):
        objects_in("the manifest", {"layers": items}, "layers")
    assert objects_in("the manifest", {"layers": None}, "layers") == []


def token_flow(server_box, *, secret: bool, post: int = 200):
    def answer(method, path, headers, number):
        if path.startswith("/token"):
            if method == "POST" and post != 200:
                return post, {}, b""
            return 200, {}, json.dumps({"token": "T", "expires_in": 300}).encode()
        if headers.get("authorization") != "Bearer T":
            realm = f'Bearer realm="http://{server_box[0].address}/token",service="reg",scope="repository:a/b:pull"'
            return 401, {"WWW-Authenticate": realm}, b""
        return 200, {}, BODY

    return answer


@pytest.mark.parametrize(
    ("secret", "post", "methods"),
    [(False, 200, ["GET"]), (True, 200, ["POST"]), (True, 404, ["POST", "GET"])],
)
def test_a_token_is_fetched_once_and_used(secret, post, methods):
    box: list[FaultyServer] = []
    with FaultyServer(token_flow(box, secret=secret, post=post)) as server:
        box.append(server)
        source = provider(lambda *_: Credentials("me", "secret") if secret else Credentials())
        get(server, source)
        get(server, source)
        asked = [request for request in server.requests if request[1].startswith("/token")]
        assert [request[0] for request in asked] == methods
        sent = asked[-1][1] + asked[-1][2]["body"]
        assert "repository%3Aa%2Fb%3Apull" in sent
        if secret and post == 200:
            assert "grant_type=password" in sent


def test_basic_credentials_are_sent_after_the_challenge():
    def answer(method, path, headers, number):
        if headers.get("authorization") != "Basic " + base64.b64encode(b"me:pw").decode():
            return 401, {"WWW-Authenticate": 'Basic realm="x"'}, b""
        return 200, {}, BODY

    with FaultyServer(answer) as server:
        assert get(server, provider(lambda *_: Credentials("me", "pw"))).exists(BLOB.digest)
    with (
        FaultyServer(answer) as server,
        pytest.raises(SourceError, match="authentication required") as caught,
    ):
        get(server, provider(lambda *_: Credentials("me", "wrong")))
    assert "docker login" in caught.value.help


def test_authorization_does_not_follow_a_redirect_to_another_host():
    with FaultyServer(lambda m, p, h, n: (200, {}, BODY)) as other:

        def answer(method, path, headers, number):
            if "authorization" not in headers:
                return 401, {"WWW-Authenticate": "Basic"}, b""
            return 307, {"Location": f"http://{other.address}/elsewhere"}, b""

        with FaultyServer(answer) as server:
            get(server, provider(lambda *_: Credentials("me", "pw")))
        assert "authorization" not in other.requests[0][2]


class Options:
    http = insecure = False
    ca = ""

    def __init__(self, *mirrors: str) -> None:
        self.mirrors = mirrors


def test_a_mirror_is_asked_first_with_the_original_host():
    with FaultyServer(lambda m, p, h, n: (200, {}, BODY)) as mirror:
        source = provider(options={"docker.io": Options(mirror.address)})
        store = MemoryBlobs()
        fetch(store, source, parse("alpine"), BLOB, Token())
        assert mirror.requests[0][1] == f"/v2/library/alpine/blobs/{BLOB.digest}?ns=docker.io"


def test_what_a_mirror_lacks_comes_from_the_registry():
    with (
        FaultyServer(lambda m, p, h, n: (404, {}, b"")) as mirror,
        FaultyServer(lambda m, p, h, n: (200, {}, BODY)) as server,
    ):
        assert get(server, provider(options={server.address: Options(mirror.address)})).exists(BLOB.digest)
        assert mirror.requests


def test_cancelling_stops_a_download():
    token = Token()

    def answer(method, path, headers, number):
        token.cancel()
        return 200, {}, BODY

    with FaultyServer(answer) as server, pytest.raises((Cancelled, SourceError)):
        fetch(MemoryBlobs(), provider(), parse(f"{server.address}/a/b:c"), BLOB, token)


def test_a_name_without_a_host_is_told():
    with pytest.raises(SourceError, match=r"cannot resolve the host name no-such-host\.invalid") as caught:
        provider().resolve(parse("no-such-host.invalid/a:b"), Token())
    assert caught.value.help


def test_challenges_are_read_in_all_their_forms():
    header = 'Bearer realm="https://a/t",service="s, t",scope="repository:x:pull,push", Basic realm="b"'
    bearer, basic = parse_challenges([header])
    assert (bearer.scheme, bearer.parameters["service"], bearer.parameters["scope"]) == (
        "bearer",
        "s, t",
        "repository:x:pull,push",
    )
    assert (basic.scheme, basic.parameters) == ("basic", {"realm": "b"})


def test_docker_configuration_gives_credentials(tmp_path):
    path = tmp_path / "config.json"
    auth = base64.b64encode(b"me:p:w").decode()
    path.write_text(
        json.dumps(
            {"auths": {"https://index.docker.io/v1/": {"auth": auth}, "r.example": {"identitytoken": "I"}}}
        )
    )
    config = DockerConfig(path)
    assert config.credentials("docker.io") == Credentials("me", "p:w")
    assert config.credentials("r.example") == Credentials("", "I")
    assert config.credentials("other.example") == Credentials()
    path.write_text("{")
    with pytest.raises(SourceError):
        DockerConfig(path).credentials("x")
