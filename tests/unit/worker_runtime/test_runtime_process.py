# SPDX-License-Identifier: Apache-2.0
"""How a runtime is called and what becomes of its answers, with a script in its place."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from llbkit.llb.ir.graph import LinuxResources
from llbkit.worker.base import EnvironmentLackError
from llbkit.worker.host.pools import Pools, Token
from llbkit.worker.runtime import process
from llbkit.worker.runtime.process import Containers, Exit
from llbkit.worker.runtime.spec import Sandbox

pytestmark = pytest.mark.root

_RUNTIME = """#!/bin/sh
# Understands what it is called with, and does what the file says.
here={here}
echo "$@" >> $here/calls
root= bundle= pid= log= verb=
while [ $# -gt 0 ]; do
    case "$1" in
        --root) root=$2; shift ;;
        --bundle) bundle=$2; shift ;;
        --pid-file) pid=$2; shift ;;
        --log) log=$2; shift ;;
        --log-format) shift ;;
        --cgroup-manager=disabled) disabled=1 ;;
        --force) ;;
        run|delete) verb=$1 ;;
        *) name=$1 ;;
    esac
    shift
done
[ -e $here/without-cgroups ] && [ -z "$disabled" ] && exit 1
[ "$verb" = delete ] && exec rm -rf "$root/$name"
[ -z "$pid" ] && exit 42
. $here/behaviour
"""


class Fake:
    """Containers with a script as their runtime."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        script = folder / name
        script.write_text(_RUNTIME.format(here=folder))
        script.chmod(0o755)
        self.pools = Pools({"exec": 2}, private_mounts=True)
        self.containers = Containers(folder / "run", folder / "verdict", wanted=str(script))
        self.output: list[tuple[int, bytes]] = []
        self.config: dict = {}
        self.work = Path()

    def reset(self) -> None:
        """Forget what earlier tests did."""
        for name in ("calls", "child", "begun", "seen"):
            (self.folder / name).unlink(missing_ok=True)
        self.output.clear()

    def close(self) -> None:
        self.pools.run_sync("exec", lambda _: self.containers.close())
        self.pools.close()

    def run(
        self, behaviour: str, *, token: Token | None = None, log=None, parent: str = "", **fields: object
    ) -> Exit:
        (self.folder / "behaviour").write_text(behaviour)
        sandbox = Sandbox(root=self.folder, args=("x",), **fields)  # type: ignore[arg-type]

        def work(_: Token) -> Exit:
            with self.containers.work() as self.work:
                try:
                    take = log or (lambda stream, data: self.output.append((stream, data)))
                    return self.containers.run(
                        sandbox, take, token or Token(), work=self.work, cgroup_parent=parent
                    )
                finally:
                    if (self.work / "config.json").exists():
                        self.config = json.loads((self.work / "config.json").read_text())

        return self.pools.run_sync("exec", work)

    def calls(self, verb: str) -> list[list[str]]:
        """Return the arguments of the calls of one kind, without those that tried the runtime out."""
        file = self.folder / "calls"
        calls = [line.split() for line in (file.read_text().splitlines() if file.exists() else ())]
        return [call for call in calls if verb in call and (verb == "delete" or "--pid-file" in call)]


@pytest.fixture(scope="module", params=["runc", "crun"])
def started(request, tmp_path_factory):
    made = Fake(tmp_path_factory.mktemp("fake"), request.param)
    made.run("exit 0")
    yield made
    made.close()
    assert not any(path.is_dir() for path in (made.folder / "run").iterdir())


@pytest.fixture
def fake(started):
    started.reset()
    return started


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_runtime_is_told_everything_and_given_nothing(fake) -> None:
    """No standard input, no variable of ours (they may be secrets), no descriptor, a session of its own."""
    os.environ["LLBKIT_TEST_SECRET"] = "x"
    try:
        ended = fake.run(
            "readlink /proc/self/fd/0; env; ls /proc/self/fd; cut -d' ' -f6 /proc/$$/stat; echo $$"
        )
    finally:
        del os.environ["LLBKIT_TEST_SECRET"]
    assert ended == Exit(code=0)
    lines = b"".join(data for _, data in fake.output).decode().splitlines()
    assert lines[0] == "/dev/null"
    assert not any("LLBKIT" in line for line in lines)
    assert lines[-1] == lines[-2]
    descriptors = [line for line in lines if line.isdigit()][:-2]
    assert descriptors == ["0", "1", "2", "3"]
    (call,) = fake.calls("run")
    name = call[-1]
    assert call[call.index("--bundle") + 1] == str(fake.work)
    assert Path(call[call.index("--pid-file") + 1]).parent.name == "pids"
    assert call[call.index("--root") + 1].startswith(str(fake.folder / "run"))
    assert fake.config["process"]["args"] == ["x"]
    assert fake.config["linux"]["cgroupsPath"] == f"/llbkit/{name}"
    assert fake.calls("delete") == []


@pytest.mark.parametrize("code", [0, 1, 3, 126, 127, 128, 255])
def test_exit_codes_are_passed_on(fake, code) -> None:
    assert fake.run(f"exit {code}") == Exit(code=code)


@pytest.mark.parametrize(("code", "name"), [(137, "SIGKILL"), (139, "SIGSEGV"), (143, "SIGTERM")])
def test_codes_of_signals_are_said_in_words(fake, code, name) -> None:
    ended = fake.run(f"exit {code}")
    assert (ended.code, ended.started) == (code, True)
    assert name in ended.reason


def test_out_of_memory_is_said_if_the_kernel_says_so(fake, monkeypatch) -> None:
    counts = iter([1, 2])
    monkeypatch.setattr(process, "_kill_count", lambda: next(counts))
    assert "the kernel ran out of memory" in fake.run("exit 137").reason


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('exec: "nope": executable file not found in $PATH', 127),
        ('exec: "/nope": stat /nope: no such file or directory', 127),
        ("executable file `nope` not found in $PATH: No such file or directory", 127),
        ('exec: "/etc/passwd": permission denied', 126),
        ("open executable: Permission denied", 126),
        ("mount `/gone` to `m`: No such file or directory", 126),
        ('error mounting "/gone" to rootfs at "/m": stat /gone: no such file or directory', 126),
    ],
)
def test_a_runtimes_own_failure_is_no_exit_code_of_the_process(fake, line, code) -> None:
    text = json.dumps({"level": "error", "msg": line}) if "runc" in str(fake.containers._wanted) else line
    (fake.folder / "text").write_text(text + "\n")
    ended = fake.run("cat $here/text > $log; exit 1")
    assert ended == Exit(code=code, reason=line, started=False)


def test_warnings_and_rubbish_in_the_log_are_no_failure(fake) -> None:
    lines = '{"level":"warning","msg":"not found"}\n{"level": "err'
    (fake.folder / "text").write_text(lines)
    assert fake.run("cat $here/text > $log; exit 4") == Exit(code=4)
    (fake.folder / "text").write_text('{"level":"error","msg":"x"}\n')
    assert fake.run("cat $here/text > $log; exit 0") == Exit(code=0)


def test_a_runtime_that_is_killed_is_not_taken_for_the_process(fake) -> None:
    ended = fake.run('mkdir -p "$root/$name"; kill -9 $$')
    assert (ended.code, ended.started) == (137, False)
    assert "runtime" in ended.reason
    assert len(fake.calls("delete")) == 1


def test_records_that_the_runtime_leaves_are_deleted(fake) -> None:
    fake.run('mkdir -p "$root/$name"; exit 3')
    (call,) = fake.calls("delete")
    assert call[-3:] == ["delete", "--force", fake.calls("run")[0][-1]]


@pytest.mark.parametrize("parent", ["mine", "/mine", "mine/"])
def test_a_container_is_below_the_cgroup_that_was_named(fake, parent) -> None:
    fake.run("exit 0", parent=parent, resources=LinuxResources(memory=5))
    assert fake.config["linux"]["cgroupsPath"] == f"/mine/{fake.calls('run')[0][-1]}"
    assert fake.config["linux"]["resources"]["memory"] == {"limit": 5}


# -- output


def test_output_is_handed_on_as_it_comes_byte_for_byte(fake) -> None:
    """Pieces arrive before the process ends: it waits for the test to have seen them."""
    seen = threading.Event()

    def log(stream: int, data: bytes) -> None:
        fake.output.append((stream, data))
        if b"".join(d for _, d in fake.output).endswith(b"part"):
            (fake.folder / "seen").touch()
            seen.set()

    fake.run(
        "printf 'a\\r\\n\\377\\000 part'; until [ -e $here/seen ]; do sleep 0.01; done; printf ' end'",
        log=log,
    )
    assert seen.is_set()
    assert b"".join(data for _, data in fake.output) == b"a\r\n\xff\x00 part end"


def test_both_streams_are_read_together(fake) -> None:
    """More than a pipe holds on each, written in turns: reading one to its end first would wait forever."""
    fake.run("for i in 1 2 3 4; do head -c 100000 /dev/zero; head -c 100000 /dev/zero | tr '\\0' e >&2; done")
    got = {number: b"".join(data for stream, data in fake.output if stream == number) for number in (1, 2)}
    assert got == {1: bytes(400000), 2: b"e" * 400000}


def test_closed_streams_do_not_end_the_wait(fake) -> None:
    assert fake.run("exec >&- 2>&-; sleep 0.1; exit 5") == Exit(code=5)


def test_a_failing_reader_ends_the_container(fake) -> None:
    def log(stream: int, data: bytes) -> None:
        raise RuntimeError("no reader")

    with pytest.raises(RuntimeError, match="no reader"):
        fake.run("sleep 60 & echo $! > $pid; echo $! > $here/child; echo x; wait", log=log)
    assert not alive(int((fake.folder / "child").read_text()))


# -- cancellation

_BORN_LATE = "touch $here/begun; sleep 0.2; sleep 60 & echo $! > $here/child; echo $! > $pid.tmp; mv $pid.tmp $pid; wait; exit 137"
_HANGS = "touch $here/begun; sleep 60 & wait"


def cancel_when(fake: Fake, file: str, token: Token) -> threading.Thread:
    """Cancel once a file is there, from a thread that sees the pools' mounts, as `llbkit.worker.host.pools` does."""

    def wait(_: Token) -> None:
        while not (fake.folder / file).exists():
            time.sleep(0.005)
        token.cancel()

    thread = threading.Thread(target=fake.pools.run_sync, args=("exec", wait))
    thread.start()
    return thread


@pytest.mark.parametrize("when", ["before the start", "before the birth", "while running"])
def test_a_cancelled_container_is_killed_and_deleted(fake, when) -> None:
    """A runtime that is killed half-way would leave a process that nobody knows, so its birth is waited for."""
    token = Token()
    if when == "before the start":
        token.cancel()
        fake.run(_BORN_LATE, token=token)
    else:
        thread = cancel_when(fake, "begun" if when == "before the birth" else "child", token)
        fake.run(_BORN_LATE, token=token)
        thread.join()
    assert not alive(int((fake.folder / "child").read_text()))
    assert len(fake.calls("delete")) == 1


def test_a_runtime_that_never_makes_a_container_is_killed(fake, monkeypatch) -> None:
    monkeypatch.setattr(process, "_PATIENCE", 0.2)
    token = Token()
    thread = cancel_when(fake, "begun", token)
    fake.run(_HANGS, token=token)
    thread.join()
    assert len(fake.calls("delete")) == 1


def test_cancelling_what_has_just_ended_does_no_harm(fake) -> None:
    token = Token()
    fake.run("sleep 0 & wait $!; echo $! > $pid; exit 0", token=token, log=lambda *_: None)
    token.cancel()
    assert fake.run("exit 0") == Exit(code=0)


def test_a_process_that_is_gone_when_it_is_to_be_killed_is_not_missed(fake) -> None:
    """The process id in the file is that of a process which ended; the runtime ends soon after."""
    token = Token()
    thread = cancel_when(fake, "child", token)
    fake.run("sleep 0 & p=$!; wait $p; echo $p > $pid; touch $here/child; sleep 0.2", token=token)
    thread.join()
    assert len(fake.calls("delete")) == 1


# -- without cgroups


@pytest.mark.parametrize("confined", [True, False])
def test_without_cgroups_something_else_must_guard_devices(tmp_path, monkeypatch, confined) -> None:
    """Either the container is born under device rules, or it cannot make devices at all."""
    monkeypatch.setattr(process, "confine_thread", lambda place: confined)
    (tmp_path / "without-cgroups").touch()
    fake = Fake(tmp_path, "crun")
    try:
        fake.run("exit 0")
        assert not {"cgroupsPath", "resources"} & set(fake.config["linux"])
        assert ("CAP_MKNOD" in fake.config["process"]["capabilities"]["bounding"]) is confined
        for fields in ({"resources": LinuxResources(memory=5)}, {"parent": "mine"}):
            with pytest.raises(EnvironmentLackError, match="can limit resources"):
                fake.run("exit 0", **fields)
    finally:
        fake.close()


# -- what cannot run


def test_a_runtime_that_does_not_exist_is_named(tmp_path) -> None:
    pools = Pools({"exec": 1}, private_mounts=True)
    try:
        for wanted in (str(tmp_path / "runc"), "/bin/sh"):
            containers = Containers(tmp_path / "run", wanted=wanted)
            with pytest.raises(EnvironmentLackError, match=wanted) as caught:
                pools.run_sync("exec", lambda _, c=containers: c.verdict())
            assert caught.value.help
    finally:
        pools.close()
