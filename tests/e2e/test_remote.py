# SPDX-License-Identifier: Apache-2.0
"""What comes from and goes to other places: HTTP, git, registries with certificates and credentials."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.registry import registry as run_registry

GIT = {
    "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b",
    "GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": "protocol.file.allow", "GIT_CONFIG_VALUE_0": "always",
    "GIT_CONFIG_KEY_1": "init.defaultBranch", "GIT_CONFIG_VALUE_1": "main",
}  # fmt: skip

PASSWORD_HASH = "$2b$04$yOYhScNeUSEyGP102OqBxOGCi.WfZd8CsvxGH4G8QNGTRYngQaDVW"
"""Of the word that the helper gives."""


def _git(folder: Path, *args: str) -> str:
    done = subprocess.run(
        ["git", *args], cwd=folder, env={**os.environ, **GIT}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def served(tmp_path):
    """Return a folder and the address at which it is served, git repositories included."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def _repository(served: Path, work: Path) -> Path:
    """Make a repository with a branch, a tag and a subdirectory; return its work tree."""
    work.mkdir()
    _git(work, "init", "-q")
    (work / "sub").mkdir()
    (work / "sub" / "f").write_text("first\n")
    (work / "Dockerfile").write_text("FROM scratch\nCOPY sub /sub\n")
    _git(work, "add", ".")
    _git(work, "commit", "-qm", "one")
    _git(work, "tag", "v1")
    (work / "sub" / "f").write_text("second\n")
    _git(work, "commit", "-qam", "two")
    _publish(served, work)
    return work


def _publish(served: Path, work: Path) -> None:
    _git(work, "clone", "-q", "--bare", str(work), str(served / f"{work.name}.git"))
    _git(served / f"{work.name}.git", "update-server-info")


def test_files_are_added_over_http(cli, project, tmp_path, served) -> None:
    folder, address = served
    (folder / "f.txt").write_text("content\n")
    digest = hashlib.sha256(b"content\n").hexdigest()
    context = project(f"FROM scratch\nADD --checksum=sha256:{digest} {address}/f.txt /got/\n", base=False)
    cli.build(context, "-o", tmp_path / "out")
    assert (tmp_path / "out" / "got" / "f.txt").read_text() == "content\n"
    assert "CACHED" in cli.build(context).stderr
    (context / "Dockerfile").write_text(
        f"FROM scratch\nADD --checksum=sha256:{'0' * 64} {address}/f.txt /got/\n"
    )
    wrong = cli.build(context, code=1).stderr
    assert digest in wrong
    assert "Dockerfile:2" in wrong
    (context / "Dockerfile").write_text(f"FROM scratch\nADD {address}/missing /got/\n")
    missing = cli.build(context, code=1).stderr
    assert "404" in missing
    assert "Dockerfile:2" in missing


def test_git_repositories_are_added_and_built(cli, project, tmp_path, served) -> None:
    folder, address = served
    repository = _repository(folder, tmp_path / "repo")
    commit = _git(repository, "rev-parse", "v1")
    adds = {
        "main": f"{address}/repo.git",
        "tag": f"{address}/repo.git#v1",
        "sub": f"{address}/repo.git#v1:sub",
    }
    adds["commit"] = f"{address}/repo.git#{commit}"
    context = project(
        "FROM scratch\n" + "".join(f"ADD {url} /{name}/\n" for name, url in adds.items()), base=False
    )
    cli.build(context, "-o", tmp_path / "out")
    out = tmp_path / "out"
    assert (out / "main" / "sub" / "f").read_text() == "second\n"
    assert (out / "tag" / "sub" / "f").read_text() == "first\n"
    assert (out / "sub" / "f").read_text() == "first\n"
    assert (out / "commit" / "sub" / "f").read_text() == "first\n"
    assert not (out / "main" / ".git").exists()
    cli.run("build", "--progress=plain", f"{address}/repo.git#v1", "-o", tmp_path / "built")
    assert (tmp_path / "built" / "sub" / "f").read_text() == "first\n"
    nowhere = cli.run("build", "--progress=plain", f"{address}/repo.git#nowhere", code=1).stderr
    assert "nowhere" in nowhere


def test_submodules_come_along(cli, project, tmp_path, served) -> None:
    folder, address = served
    _repository(folder, tmp_path / "inner")
    outer = tmp_path / "outer"
    outer.mkdir()
    _git(outer, "init", "-q")
    _git(outer, "submodule", "--quiet", "add", f"{address}/inner.git", "inner")
    _git(outer, "commit", "-qm", "with a submodule")
    _publish(folder, outer)
    context = project(f"FROM scratch\nADD {address}/outer.git /o/\n", base=False)
    cli.build(context, "-o", tmp_path / "out")
    assert (tmp_path / "out" / "o" / "inner" / "sub" / "f").read_text() == "second\n"


@pytest.fixture
def certificate(tmp_path):
    """Return the files of a self-signed certificate for 127.0.0.1 and of its key."""
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-out", files[0], "-keyout", files[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    return files


def test_a_registry_with_an_own_certificate(cli, project, tmp_path, certificate) -> None:
    folder = project("FROM base\nRUN echo x > /x\n")
    tls = f"tls: {{certificate: {certificate[0]}, key: {certificate[1]}}}"
    with run_registry(tmp_path / "registry", http=tls) as host:
        name = f"{host}/secure/app:1"
        refused = cli.build(folder, "-t", name, "--push", code=1).stderr
        assert "certificate" in refused
        settings = tmp_path / "config.toml"
        for trust in (f'ca = "{certificate[0]}"', "insecure = true"):
            settings.write_text(f'[registry."{host}"]\n{trust}\n')
            cli.environment["LLBKIT_CONFIG"] = str(settings)
            cli.build(folder, "-t", name, "--push")
            (folder / "Dockerfile").write_text(f"FROM {name}\nRUN cat /x > /y\n")
            other = type(cli)(tmp_path / f"other-{len(trust)}", cli.environment)
            other.build(folder, "-o", tmp_path / "out")
            assert (tmp_path / "out" / "y").read_text() == "x\n"
            (folder / "Dockerfile").write_text(f"FROM {name}\nRUN echo again\n")


def test_credentials_come_from_a_helper(cli, project, tmp_path) -> None:
    folder = project("FROM base\nRUN echo x > /x\n")
    helper = tmp_path / "bin" / "docker-credential-own"
    helper.parent.mkdir()
    helper.write_text(
        f'#!/bin/sh\ncat > {tmp_path}/asked\necho \'{{"Username":"me","Secret":"hidden-word"}}\'\n'
    )
    helper.chmod(0o755)
    home = tmp_path / "docker"
    home.mkdir()
    passwords = tmp_path / "htpasswd"
    passwords.write_text(f"me:{PASSWORD_HASH}\n")
    basic = f"auth: {{htpasswd: {{realm: own, path: {passwords}}}}}"
    with run_registry(tmp_path / "registry", extra=basic) as host:
        name = f"{host}/app:1"
        refused = cli.build(folder, "-t", name, "--push", code=1).stderr
        assert "401" in refused or "unauthorized" in refused.lower()
        (home / "config.json").write_text(json.dumps({"credHelpers": {host: "own"}}))
        cli.environment["DOCKER_CONFIG"] = str(home)
        cli.environment["PATH"] = f"{helper.parent}:{os.environ['PATH']}"
        cli.build(folder, "-t", name, "--push")
        assert (tmp_path / "asked").read_text().strip() == host
    for path in cli.root.rglob("*"):
        assert not path.is_file() or b"hidden-word" not in path.read_bytes(), path
