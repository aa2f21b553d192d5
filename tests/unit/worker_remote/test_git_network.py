# SPDX-License-Identifier: Apache-2.0
"""Git repositories over HTTP: to whom credentials go, proxies, and stalls."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from support.proxy import proxy
from support.remote import FaultyServer
from support.sockets import raw_server

from llbkit.worker.base import SourceError
from llbkit.worker.host.pools import Cancelled, Token
from llbkit.worker.session.local import LocalSession
from llbkit.worker.sources.git import GitSource
from llbkit.worker.sources.giturl import parse
from llbkit.worker.sources.repositories import Repositories

COMMIT = "a" * 40
SECRET = "the-token"


def _line(text: str) -> bytes:
    return f"{len(text) + 4:04x}{text}".encode()


ADVERTISED = (
    _line("# service=git-upload-pack\n") + b"0000" + _line("version 2\n") + _line("ls-refs\n") + b"0000"
)


def repository(method, path, headers, number):
    """Answer as a server whose repository has one branch."""
    kind = "advertisement" if method == "GET" else "result"
    body = ADVERTISED if method == "GET" else _line(f"{COMMIT} HEAD\n") + b"0000"
    return 200, {"Content-Type": f"application/x-git-upload-pack-{kind}"}, body


def resolved(folder: Path, url: str, token: Token, **secrets: str) -> str:
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    source = GitSource(Repositories(folder / "git"), scratch)
    session = LocalSession(
        id="s", secrets={name: lambda value=value: value.encode() for name, value in secrets.items()}
    )
    return source.resolve(parse("git://r", {"git.fullurl": url}), token, session=session).commit


@pytest.mark.parametrize("name", ["GIT_AUTH_TOKEN", "GIT_AUTH_HEADER"])
def test_a_secret_does_not_follow_a_redirect_to_another_host(tmp_path, token, name):
    with FaultyServer(repository) as other:
        redirecting = lambda m, path, h, n: (302, {"Location": f"http://{other.address}{path}"}, b"")  # noqa: E731
        with FaultyServer(redirecting) as server:
            url = f"http://{server.address}/r.git"
            with pytest.raises(SourceError, match="redirects to another address") as caught:
                resolved(tmp_path, url, token, **{name: SECRET})
            assert caught.value.help
            assert not other.requests
            assert resolved(tmp_path, url, token) == COMMIT  # without a secret, git follows as ever
            assert all("authorization" not in headers for _, _, headers in other.requests)
            direct = f"http://{other.address}/r.git"
            assert resolved(tmp_path, direct, token, **{name: SECRET}) == COMMIT
            assert "authorization" in other.requests[-1][2]


@pytest.mark.parametrize("secret", ["a\nX-Other: b", "€"])
def test_a_secret_that_no_header_can_hold_is_refused(tmp_path, token, secret):
    with pytest.raises(SourceError, match="GIT_AUTH_TOKEN cannot be sent in a header"):
        resolved(tmp_path, "http://127.0.0.1:1/r.git", token, GIT_AUTH_TOKEN=secret)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy"])
def test_a_repository_is_reached_through_a_proxy(tmp_path, token, monkeypatch, variable):
    for name in ("HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with FaultyServer(repository) as server, proxy({"git.test:80": server.address}) as through:
        monkeypatch.setenv(variable, f"http://{through.address}")
        assert resolved(tmp_path, "http://git.test/r.git", token) == COMMIT
        assert through.seen[0].startswith("GET http://git.test/r.git/info/refs")


def test_a_silent_server_is_cancelled(tmp_path):
    token, outcome = Token(), []

    def run(url: str) -> None:
        try:
            resolved(tmp_path, url, token)
        except BaseException as error:
            outcome.append(error)

    with raw_server(lambda connection, head, over: over.wait()) as address:
        thread = threading.Thread(target=run, args=(f"http://{address}/r.git",))
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        token.cancel()
        thread.join(5)
        assert not thread.is_alive()
        assert isinstance(outcome[0], Cancelled)


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "authentication required"), (403, "access denied"), (404, "not found"), (500, "server failed")],
)
def test_each_status_is_told_in_words(tmp_path, token, status, said):
    with FaultyServer(lambda m, p, h, n: (status, {}, b"")) as server:
        with pytest.raises(SourceError, match=said) as caught:
            resolved(tmp_path, f"http://{server.address}/r.git", token)
        assert server.address in str(caught.value)
        assert caught.value.help
