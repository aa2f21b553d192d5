# SPDX-License-Identifier: Apache-2.0
"""What the flags of a build do to the processes of its steps."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.root


@pytest.fixture
def inside(cli, project, tmp_path):
    """Return a function that gives what a shell command prints in a step."""

    def run(command: str, *flags: str, run: str = "RUN") -> str:
        folder = project(f"FROM base\n{run} ({command}) > /said 2>&1\nFROM scratch\nCOPY --from=1 /said /\n")
        cli.build(folder, *flags, "-o", tmp_path / "out")
        return (tmp_path / "out/said").read_text()

    return run


def test_hosts_are_added(inside) -> None:
    flags = ["--add-host=a:10.0.0.1", "--add-host=b=::1", "--add-host=c:[fe80::1]", "--add-host=a:10.0.0.2"]
    lines = inside("cat /etc/hosts", *flags, "--add-host=me:host-gateway").splitlines()
    assert lines[2:] == ["10.0.0.1\ta", "::1\tb", "fe80::1\tc", "10.0.0.2\ta", "127.0.0.1\tme"]


def test_the_host_gateway_is_where_the_host_listens(inside) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        answer = threading.Thread(target=_greet, args=(server,))
        answer.start()
        said = inside(f"nc me {server.getsockname()[1]} < /dev/null", "--add-host=me:host-gateway")
        answer.join()
    assert said == "hello\n"


def _greet(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.sendall(b"hello\n")


def test_limits_are_set(inside) -> None:
    flags = ["--ulimit=nofile=100:200", "--ulimit=core=-1", "--ulimit=nproc=77"]
    rows = {
        line[:26].strip(): line[26:].split()[:2]
        for line in inside("cat /proc/self/limits", *flags).splitlines()
    }
    assert rows["Max open files"] == ["100", "200"]
    assert rows["Max processes"] == ["77", "77"]
    assert rows["Max core file size"] == ["unlimited", "unlimited"]


def test_shared_memory_has_its_size(inside) -> None:
    assert inside("df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2") == "65536\n"
    assert inside("df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2", "--shm-size=10m") == "10240\n"


@pytest.mark.parametrize(
    ("flags", "run", "alone"),
    [
        ((), "RUN", False),
        ((), "RUN --network=none", True),
        (("--network=none",), "RUN", True),
        (("--network=none",), "RUN --network=default", True),
        (("--network=none", "--allow=network.host"), "RUN --network=host", False),
        (("--network=host",), "RUN --network=none", True),
        (("--network=host",), "RUN --network=host", False),
    ],
)
def test_networks(inside, flags: tuple[str, ...], run: str, alone: bool) -> None:
    routes = inside("cat /proc/net/dev | grep -v 'lo:\\||' | wc -l", *flags, run=run)
    host = sum(
        "lo:" not in line and "|" not in line for line in Path("/proc/net/dev").read_text().splitlines()
    )
    assert int(routes) == (0 if alone else host)


def test_a_cgroup_parent_is_where_processes_are(cli, project) -> None:
    folder = project("FROM base\nRUN sleep 619\n")
    process = subprocess.Popen(
        cli.argv("build", "--progress=plain", "--cgroup-parent=/llbkit-test/deep", folder),
        env=cli.env(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert ":/llbkit-test/deep/" in _groups_of(b"sleep\x00619\x00")
    finally:
        process.terminate()
        process.communicate()
        for group in Path("/sys/fs/cgroup").glob("**/llbkit-test"):
            (group / "deep").rmdir()
            group.rmdir()


def _groups_of(command: bytes) -> str:
    """Return the control groups of a process, once it runs."""
    for _ in range(200):
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and (entry / "cmdline").read_bytes() == command:
                    return (entry / "cgroup").read_text()
        time.sleep(0.05)
    raise AssertionError("the step never ran")


RIGHTS = [
    ("RUN --network=host true\n", "network.host"),
    ("RUN --security=insecure true\n", "security.insecure"),
]


@pytest.mark.parametrize(("text", "right"), RIGHTS)
def test_rights_are_refused_unless_allowed(cli, project, text: str, right: str) -> None:
    """Also if the step ran before and is cached: what it did is not for everybody."""
    folder = project("FROM base\n" + text)
    for _ in range(2):
        done = cli.build(folder, code=1)
        assert right in done.stderr
        assert f"--allow {right}" in done.stderr
        assert "Dockerfile:5" in done.stderr
        cli.build(folder, "--allow", f"{right},device")


def test_an_insecure_step_has_every_capability(inside) -> None:
    masks = [
        int(inside("grep CapEff /proc/self/status", *flags, run=run).split()[1], 16)
        for flags, run in (((), "RUN"), (("--allow=security.insecure",), "RUN --security=insecure"))
    ]
    assert masks[0] & ~masks[1] == 0
    assert masks[1].bit_count() > masks[0].bit_count() + 10


def test_an_insecure_step_of_any_user_has_every_capability(inside) -> None:
    status = "grep -E '^Cap(Eff|Amb|Bnd)' /proc/self/status | tr -d '\\t' | tr '\\n' ' '"
    text = inside(status, "--allow=security.insecure", run="USER 1000\nRUN --security=insecure")
    effective, bounding, ambient = (word.partition(":")[2] for word in text.split())
    assert effective == bounding == ambient
    assert int(effective, 16)


def test_wrong_values_are_told_with_the_right_form(cli, project) -> None:
    folder = project("FROM base\n")
    for flag, code, hint in [
        ("--add-host=h", 2, "host:ip"),
        ("--add-host=h:nowhere", 1, "host=ip"),
        ("--ulimit=nofile", 1, "nofile=1024:2048"),
        ("--ulimit=nofile=5:1", 1, "soft limit"),
        ("--ulimit=files=5", 1, "nofile"),
        ("--shm-size=big", 2, "64m"),
        ("--network=mine", 2, "none"),
        ("--allow=everything", 2, "network.host"),
    ]:
        assert hint in cli.build(folder, flag, code=code).stderr, flag


def test_only_the_filtered_stages_run_again(cli, project, tmp_path) -> None:
    text = (
        "FROM base AS one\nRUN : one; cat /proc/sys/kernel/random/uuid > /f\nFROM base AS two\nRUN cat /proc/sys/kernel/random/uuid > /f\n"
        "FROM two AS three\nRUN cat /proc/sys/kernel/random/uuid > /g\n"
        "FROM scratch\nCOPY --from=one /f /one\nCOPY --from=two /f /two\nCOPY --from=three /g /three\n"
    )
    folder = project(text)

    def changed(*flags: str) -> set[str]:
        before = {p.name: p.read_text() for p in (tmp_path / "out").glob("*")}
        cli.build(folder, *flags, "-o", tmp_path / "out")
        return {p.name for p in (tmp_path / "out").glob("*") if before.get(p.name) != p.read_text()}

    assert changed() == {"one", "two", "three"}
    assert changed() == set()
    assert changed("--no-cache-filter=One") == {"one"}
    assert changed("--no-cache-filter", "two") == {"two", "three"}
    assert changed("--no-cache-filter=one,three") == {"one", "three"}
    assert changed("--no-cache-filter=four") == set()
    assert changed("--no-cache") == {"one", "two", "three"}


def test_a_heredoc_with_a_shebang_is_run_as_a_program(cli, project, tmp_path) -> None:
    """Its tabs are dropped first; one without a shebang is what the shell reads."""
    folder = project(
        "FROM base\n"
        'RUN <<-S\n\t#!/bin/awk -f\n\tBEGIN { print "said by awk" > "/one" }\n\tS\n'
        "RUN <<S\n#!/bin/sh -e\n\techo $0 > /two\nS\n"
        "RUN <<-S\n\t echo shell > /three\n\tS\n"
        "FROM scratch\nCOPY --from=1 /one /two /three /\n"
    )
    cli.build(folder, "-o", tmp_path / "out")
    texts = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert texts == {"one": "said by awk\n", "two": "/dev/pipes/S\n", "three": "shell\n"}
