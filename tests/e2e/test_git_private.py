# SPDX-License-Identifier: Apache-2.0
"""Private git repositories: tokens and headers over HTTPS, keys and agents over SSH; nothing of them stays behind."""

from __future__ import annotations

import base64
import functools
import http.server
import os
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from llbkit import llb
from llbkit.llb import wire

TOKEN = "hidden-word"
GIT = {
    "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b",
    "GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": "init.defaultBranch", "GIT_CONFIG_VALUE_0": "main",
    "GIT_CONFIG_KEY_1": "safe.directory", "GIT_CONFIG_VALUE_1": "*",
}  # fmt: skip


def _run(*argv: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        argv, cwd=cwd, env={**os.environ, **GIT}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path) -> Path:
    """Return a bare repository that a plain web server can serve, too."""
    work, bare = tmp_path / "work", tmp_path / "served" / "app.git"
    work.mkdir()
    (work / "f").write_text("private\n")
    (work / "Dockerfile").write_text("FROM scratch\nCOPY f /\n")
    _run("git", "init", "-q", cwd=work)
    _run("git", "add", ".", cwd=work)
    _run("git", "commit", "-qm", "one", cwd=work)
    _run("git", "clone", "-q", "--bare", work, bare)
    _run("git", "update-server-info", cwd=bare)
    return bare


@pytest.fixture
def https(repository, tmp_path):
    """Serve the repository over TLS to who knows the token; yield the address and the file of the certificate."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    _run(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
        *("-addext", "subjectAltName=IP:127.0.0.1", "-out", cert, "-keyout", key),
    )
    allowed = {
        "basic " + base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode(),
        f"Bearer {TOKEN}",
    }

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") in allowed:
                super().do_GET()
            else:
                self.send_error(401)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    handler = functools.partial(Handler, directory=str(repository.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{server.server_address[1]}/app.git", cert
        server.shutdown()


@pytest.fixture
def sshd(repository, tmp_path):
    """Serve the repository over SSH to the owner of a key; yield the address, the key and the host's known line."""
    host, user = tmp_path / "host", tmp_path / "user"
    for key in (host, user):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    server = subprocess.Popen(
        [sys.executable, "-m", "support.sshd", repository, host, f"{user}.pub"],
        cwd=Path(__file__).parents[1],
        env={**os.environ, **GIT},
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        public = Path(f"{host}.pub").read_text().strip()
        yield f"ssh://git@127.0.0.1:{port}/app.git", user, f"[127.0.0.1]:{port} {public}"
        server.kill()


def _holds(root: Path, word: bytes) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and word in path.read_bytes()]


@pytest.mark.parametrize(
    ("name", "value"), [("GIT_AUTH_TOKEN", TOKEN), ("GIT_AUTH_HEADER", f"Bearer {TOKEN}"), ("host", TOKEN)]
)
def test_a_token_opens_a_repository_over_https(cli, project, tmp_path, https, name, value) -> None:
    address, cert = https
    cli.environment |= {"SSL_CERT_FILE": str(cert), "SECRET": value}
    folder = project(f"FROM scratch\nADD {address} /app/\n", base=False)
    refused = cli.build(folder, "-o", tmp_path / "out", code=1).stderr
    assert "app.git" in refused
    assert "--secret id=GIT_AUTH_TOKEN" in refused, refused
    wanted = name if name != "host" else "GIT_AUTH_TOKEN." + address.split("/")[2]
    told = cli.build(folder, "--secret", f"id={wanted},env=SECRET", "-o", tmp_path / "out")
    assert (tmp_path / "out" / "app" / "f").read_text() == "private\n"
    assert TOKEN not in told.stdout + told.stderr
    assert not _holds(cli.root, TOKEN.encode())
    cli.run(
        "build", "--progress=plain", "--secret", f"id={wanted},env=SECRET", address, "-o", tmp_path / "built"
    )
    assert (tmp_path / "built" / "f").read_text() == "private\n"


def test_a_key_opens_a_repository_over_ssh(cli, project, tmp_path, sshd) -> None:
    address, key, _ = sshd
    folder = project(f"FROM scratch\nADD {address} /app/\n", base=False)
    refused = cli.build(folder, "-o", tmp_path / "out", code=1).stderr
    assert "--ssh default" in refused
    cli.build(folder, "--ssh", f"default={key}", "-o", tmp_path / "out")
    assert (tmp_path / "out" / "app" / "f").read_text() == "private\n"


def test_known_hosts_are_checked(cli, tmp_path, sshd) -> None:
    address, key, known = sshd
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other")
    place, kind, *_ = known.split()
    other = f"{place} {kind} {(tmp_path / 'other.pub').read_text().split()[1]}"
    for line, code in ((known, 0), (other, 1)):
        definition = tmp_path / "definition.pb"
        definition.write_bytes(wire.encode(llb.git(address, known_ssh_hosts=[line]).graph()))
        out = tmp_path / f"out-{code}"
        told = cli.run(
            *(
                "llb",
                "run",
                "--progress=plain",
                "--no-cache",
                "--ssh",
                f"default={key}",
                definition,
                "-o",
                out,
            ),
            code=code,
        ).stderr
        assert (out / "f").exists() == (code == 0)
    assert "host key verification failed" in told
