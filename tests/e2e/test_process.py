# SPDX-License-Identifier: Apache-2.0
"""What a command inherits and is sent: closed streams, ignored children, signals, one and two."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
DEFAULT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


def started(
    cli, folder: Path, *, prepare=lambda: None, words: str = "started", arguments=()
) -> subprocess.Popen[str]:
    """Return a build whose step has printed ``words``; ``prepare`` runs in the child before the program."""

    def child() -> None:
        for one in DEFAULT:
            signal.signal(one, signal.SIG_DFL)
        prepare()

    process = subprocess.Popen(
        cli.argv("build", "--progress=plain", *arguments, folder),
        env=cli.env(),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=child,  # noqa: PLW1509
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.rstrip().endswith(words) and "RUN" not in line:
            break
    return process


def running(command: str) -> bool:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if command.encode() == b" ".join(words).strip():
                return True
    return False


def wait_for(condition: Callable[[], bool]) -> bool:
    """Wait for a condition; tell whether it came about."""
    for _ in range(400):
        if condition():
            return True
        time.sleep(0.05)
    return False


def becomes(expected: bool, command: str) -> bool:
    """Wait for a process to be there, or to be gone; tell whether that came about."""
    return wait_for(lambda: running(command) is expected)


def is_alive(pid: int) -> bool:
    """Return whether a process is there and has not ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(command: str) -> bool:
    return becomes(False, command)


@pytest.mark.root
@pytest.mark.parametrize("number", CODES, ids=lambda one: one.name)
def test_a_signal_ends_the_build_and_leaves_nothing(cli, project, number) -> None:
    seconds = 700 + number
    folder = project(f"FROM base\nRUN echo started; sleep {seconds}\n")
    process = started(cli, folder)
    process.send_signal(number)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == CODES[number], rest
    assert "Traceback" not in rest
    assert "interrupted" in rest
    assert not running(f"sleep {seconds}")
    assert os.listdir(cli.root / "work") == []
    assert os.listdir(cli.root / "run" / "owners") == []
    assert [name for name in os.listdir(cli.root / "run" / "containers") if name != "lock"] == []


@pytest.mark.root
def test_an_ignored_signal_stays_ignored(cli, project) -> None:
    """As under nohup."""
    folder = project("FROM base\nRUN echo started; sleep 2\n")
    process = started(cli, folder, prepare=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 0, rest


STUCK = """
import sys, threading
from llbkit.cli import main, process
def block(argv):
    print("started", flush=True)
    while sys.argv[1] != "lock":
        pass
    threading.Event().wait()
main._run = block
def handler_that_never_returns(number, frame): threading.Event().wait()
if sys.argv[1] == "deaf":
    process.signals._receive = handler_that_never_returns
sys.exit(main.run([]))
"""


def is_pending(pid: int, number: int) -> bool:
    """Return whether a signal was not delivered to a process yet."""
    status = Path(f"/proc/{pid}/status").read_text()
    masks = re.findall(r"^(?:SigPnd|ShdPnd):\s*(\w+)$", status, re.MULTILINE)
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


@pytest.mark.parametrize("apart", [True, False], ids=["one after the other", "at once"])
@pytest.mark.parametrize("where", ["lock", "loop", "deaf"])
def test_two_signals_end_a_process_that_is_stuck(where, apart) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, where], stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGINT)
        if apart:
            wait_for(lambda: not is_pending(process.pid, signal.SIGINT))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode in (130, 143, -signal.SIGTERM)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.root
@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (0, 1, 2)], ids=str)
def test_builds_do_not_need_standard_streams(cli, project, tmp_path, closed) -> None:
    folder = project("FROM base\nCOPY f /f\nRUN cat /f\n", {"f": "x"})
    done = subprocess.run(
        cli.argv("build", "-o", f"type=tar,dest={tmp_path}/out.tar", folder),
        env=cli.env(),
        preexec_fn=lambda: [os.close(number) for number in closed],
        check=False,
        timeout=120,
    )
    assert done.returncode == 0
    assert (tmp_path / "out.tar").stat().st_size > 1000


def test_a_result_that_nobody_can_receive_is_an_error(cli, project) -> None:
    folder = project("FROM scratch\nCOPY f /f\n", {"f": "x"}, base=False)
    done = subprocess.run(
        cli.argv("build", "-o", "type=tar,dest=-", folder),
        env=cli.env(),
        preexec_fn=lambda: os.close(1),
        check=False,
        stderr=subprocess.PIPE,
        timeout=120,
    )
    assert done.returncode == 1
    assert b"standard output" in done.stderr
    assert b"internal error" not in done.stderr


@pytest.mark.root
def test_exit_codes_are_known_when_the_parent_ignored_its_children(cli, project) -> None:
    for command, code in (("true", 0), ("false", 1)):
        folder = project(f"FROM base\nRUN {command}\n", name=command)
        done = subprocess.run(
            cli.argv("build", "--progress=plain", folder),
            env=cli.env(),
            preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
            check=False,
            capture_output=True,
            timeout=120,
        )
        assert done.returncode == code, done.stderr.decode()


@pytest.mark.parametrize(
    ("limit", "amounts"),
    [(resource.RLIMIT_NOFILE, (5, 6, 8, 12, 20, 63)), (resource.RLIMIT_AS, (30 << 20, 60 << 20, 100 << 20, 200 << 20, 300 << 20, 511 << 20))],
    ids=["files", "memory"],
)  # fmt: skip
def test_limits_that_are_too_low_are_the_hosts_fault(cli, project, limit, amounts) -> None:
    """However far a build comes, it ends well or says in a few words which limit it met."""
    folder = project("FROM scratch\nCOPY f /f\n", {"f": "x"}, base=False)
    for amount in amounts:
        done = subprocess.run(
            cli.argv("build", "--progress=quiet", folder),
            env=cli.env(),
            preexec_fn=lambda amount=amount: resource.setrlimit(limit, (amount, amount)),
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode in (0, 3), done.stderr
        assert "Traceback" not in done.stderr
        assert "internal error" not in done.stderr
        if done.returncode:
            assert "help: raise the limit" in done.stderr
            assert len(done.stderr.splitlines()) < 20


@pytest.mark.parametrize(
    "environment",
    [{"TMPDIR": "/nowhere"}, {"HOME": "/proc/nowhere"}, {"HOME": "/etc/passwd"}, {"PATH": ""}],
    ids=str,
)
def test_a_strange_environment_does_no_harm(cli, project, environment) -> None:
    cli.environment |= environment
    cli.build(project("FROM scratch\nCOPY f /f\n", {"f": "x"}, base=False), "-o", "type=cacheonly")


@pytest.mark.root
def test_a_state_directory_that_became_read_only_is_named(cli, project) -> None:
    folder = project("FROM scratch\nCOPY f /f\n", {"f": "x"}, base=False)
    cli.root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", cli.root], check=True)
    try:
        cli.build(folder)
        subprocess.run(["mount", "-o", "remount,ro", cli.root], check=True)
        for words in (("build", folder), ("images",), ("du",), ("prune", "-f")):
            done = cli.run(*words, code=3)
            assert "Read-only file system" in done.stderr
            assert "--root" in done.stderr
    finally:
        subprocess.run(["umount", "-l", cli.root], check=True)


def test_a_working_directory_that_was_removed_is_named(cli, tmp_path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f"cd {gone} && rmdir {gone} && exec " + " ".join(cli.argv("build", "."))
    done = subprocess.run(["sh", "-c", command], env=cli.env(), check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "the current directory has been removed" in done.stderr


@pytest.mark.root
@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_secret_variables_of_a_running_step_are_on_no_disk(cli, project, runtime) -> None:
    if not shutil.which(runtime):
        pytest.skip(f"{runtime} is not installed")
    cli.environment |= {"LLBKIT_RUNTIME": runtime, "TOKEN": "tooth-of-a-hen"}
    folder = project(
        'FROM base\nRUN --mount=type=secret,id=token,env=TOKEN,required=true test -n "$TOKEN" && echo started && sleep 733\n'
    )
    process = started(cli, folder, words="started", arguments=("--secret", "id=token,env=TOKEN"))
    try:
        assert becomes(True, "sleep 733")
        found = subprocess.run(["grep", "-rl", "tooth-of-a-hen", cli.root], capture_output=True, check=False)
        assert found.stdout == b""
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@pytest.mark.root
def test_what_a_killed_build_leaves_is_gone_after_the_next(cli, project, tmp_path) -> None:
    """Its warden is killed as well: the container runs on until another build comes."""
    command = f"sleep {100_000 + os.getpid()}"  # what an earlier run left is not taken for ours
    folder = project(f"FROM base\nRUN echo started; {command}\n")
    (tmp_path / "tmp").mkdir()
    cli.environment["TMPDIR"] = str(tmp_path / "tmp")
    process = started(cli, folder)
    wardens = [
        int(pid)
        for child in Path(f"/proc/{process.pid}/task").glob("*/children")
        for pid in child.read_text().split()
        if b"llbkit-warden" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    for pid in wardens:
        os.kill(pid, signal.SIGKILL)
    process.kill()
    process.communicate()
    assert wait_for(lambda: not any(is_alive(pid) for pid in wardens))
    assert becomes(True, command)
    cli.build(project("FROM base\nRUN true\n", name="other"))
    assert gone(command)
    for name in ("tmp", "work", "run/owners"):
        assert os.listdir(cli.root / name) == []
    assert os.listdir(cli.root / "run" / "containers") == ["lock"]
    assert os.listdir(tmp_path / "tmp") == []
