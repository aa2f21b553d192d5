# SPDX-License-Identifier: Apache-2.0
"""What builds fetch from: a registry with the base images, an HTTP server and a git daemon, all on loopback."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.fuzz.builds.archives import Member, make_archive
from tests.fuzz.builds.images import push_bases
from tests.support.registry import free_port, registry

MODIFIED = "Fri, 14 Jul 2017 02:40:00 GMT"
_TREE = (Member(name="in/", kind="dir", mode=0o755), Member(name="in/file", data="inside\n", uid=5, gid=6))
FILES: dict[str, bytes] = {
    "/plain.txt": b"plain\n",
    "/undated.txt": b"undated\n",
    "/dir/named": b"named\n",
    "/a.tar": make_archive(_TREE),
    "/a.tar.gz": make_archive(_TREE, "gz"),
    "/disposed": b"disposed\n",
    "/query": b"query\n",
}


class _Files(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        data = FILES.get(path)
        if data is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{path}"')
        if path != "/undated.txt":
            self.send_header("Last-Modified", MODIFIED)
        if path == "/disposed":
            self.send_header("Content-Disposition", 'attachment; filename="given.txt"')
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that hangs up; what it makes of that is compared


@contextmanager
def http_files() -> Iterator[str]:
    """Serve `FILES`; give the address."""
    server = _Server(("127.0.0.1", 0), _Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def git_daemon(folder: Path) -> Iterator[str]:
    """Serve a repository with tags, a branch and a submodule-free tree; give its address."""
    make_repository(folder / "r.git")
    port = free_port()
    argv = [
        "git",
        "daemon",
        "--reuseaddr",
        "--export-all",
        f"--base-path={folder}",
        "--listen=127.0.0.1",
        f"--port={port}",
    ]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.3)
    try:
        yield f"git://127.0.0.1:{port}/r.git"
    finally:
        process.terminate()
        process.wait()


def make_repository(bare: Path) -> None:
    """Create a bare repository whose commits have fixed times, and so fixed ids."""
    work = bare.with_suffix(".work")
    environment = {
        **os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_AUTHOR_DATE": "1500000000 +0000", "GIT_COMMITTER_DATE": "1500000000 +0000",
        "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.com", "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.com",
    }  # fmt: skip

    def git(*args: str) -> None:
        subprocess.run(["git", *args], cwd=work, env=environment, check=True, capture_output=True)

    (work / "sub" / "deep").mkdir(parents=True)
    git("init", "-q", "-b", "main")
    (work / "file").write_text("one\n")
    (work / "run.sh").write_text("#!/bin/sh\necho hi\n")
    (work / "run.sh").chmod(0o755)
    (work / "sub" / "deep" / "f").write_text("deep\n")
    (work / "sub" / "link").symlink_to("deep/f")
    git("add", "-A")
    git("commit", "-qm", "first")
    git("tag", "v1")
    git("tag", "-am", "annotated", "v1-a")
    git("checkout", "-qb", "dev")
    (work / "file").write_text("two\n")
    git("commit", "-qam", "second")
    git("checkout", "-q", "main")
    subprocess.run(
        ["git", "clone", "-q", "--bare", str(work), str(bare)],
        check=True,
        env=environment,
        capture_output=True,
    )


@contextmanager
def services(folder: Path, processes: int) -> Iterator[list[dict[str, str]]]:
    """Run everything; give the addresses by the names that cases use, for each process with base images of its own."""
    with registry(folder / "registry") as address, http_files() as http, git_daemon(folder) as git:
        repositories = [f"{address}/p{number}" for number in range(processes)]
        for repository in repositories:
            push_bases(repository)
        yield [{"registry": repository, "http": http, "git": git} for repository in repositories]
