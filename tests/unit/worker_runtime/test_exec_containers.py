# SPDX-License-Identifier: Apache-2.0
"""Steps in real containers: who they are, what they may, what they print, and how they end."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import LinuxResources
from llbkit.llb.ir.ops import HostIP, NetMode, SecretEnv, SecurityMode, Ulimit
from llbkit.worker.base import EnvironmentLackError, ExecError, WorkerError
from llbkit.worker.session.local import LocalSession

pytestmark = pytest.mark.root

_TIMEOUT = 30


# -- identity


def test_a_step_is_the_user_that_its_root_knows(runner) -> None:
    script = "id -u; id -g; id -G; echo $HOME; grep ^Groups /proc/self/status"
    printed = runner.output(script, meta={"user": "ann"}).splitlines()
    assert printed[:4] == ["1000", "1001", "1001 10 50", "/home/ann"]
    assert set(printed[4].split()[1:]) == {"1001", "10", "50"}
    assert runner.output(script, meta={"user": "7:8"}).splitlines()[:4] == ["7", "8", "8", "/"]
    assert runner.output(script).splitlines()[:4] == ["0", "0", "0", "/root"]


def test_the_environment_is_the_given_one_and_the_last_value_counts(runner) -> None:
    session = LocalSession(id="t", secrets={"s": "sécret\n".encode})
    printed = runner.output(
        "env", session=session, secret_env=(SecretEnv(id="s", name="TWICE"),),
        meta={
            "env": ("TWICE=1", "A=1", "A=2", "NOTHING", "EMPTY=", "EQ=a=b", "LINES=x\ny"),
            "proxy_env": ops.ProxyEnv(http_proxy="http://p", no_proxy="localhost"),
        },
    )  # fmt: skip
    shell = {"SHLVL", "PWD", "OLDPWD"}
    lines = [line for line in printed.splitlines() if line.partition("=")[0] not in shell]
    assert sorted(lines) == sorted(
        [
            "TWICE=sécret", "", "A=2", "EMPTY=", "EQ=a=b", "LINES=x", "y", "HTTP_PROXY=http://p", "http_proxy=http://p",
            "NO_PROXY=localhost", "no_proxy=localhost", "HOME=/root",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ]
    )  # fmt: skip


def test_limits_names_and_addresses_are_set(runner) -> None:
    printed = runner.output(
        "ulimit -n; ulimit -Hn; cat /proc/sys/kernel/hostname; cat /etc/hosts; test -s /etc/resolv.conf; fails 'echo x >> /etc/hosts'",
        meta={
            "ulimit": (Ulimit(name="nofile", soft=9, hard=9), Ulimit(name="nofile", soft=64, hard=128)),
            "hostname": "box", "extra_hosts": (HostIP(host="db", ip="10.1.2.3"),),
        },
    )  # fmt: skip
    lines = printed.splitlines()
    assert lines[:3] == ["64", "128", "box"]
    assert "10.1.2.3\tdb" in lines


# -- isolation


def test_a_sandbox_sees_itself_only_and_changes_nothing_of_the_kernel(runner) -> None:
    hidden = [path for path in ("/proc/keys", "/proc/timer_list", "/proc/interrupts") if os.path.exists(path)]
    script = f"""
    test $$ = 1
    set -- /proc/[0-9]*; test "$*" = /proc/1
    fails 'mount -t tmpfs none /tmp'
    fails 'echo 3 > /proc/sys/vm/drop_caches'
    fails 'echo b > /proc/sysrq-trigger'
    fails 'echo 1 > /sys/kernel/mm/ksm/run'
    for group in /sys/fs/cgroup/*/; do fails "mkdir $group/x"; done
    test -z "$(cat {" ".join(hidden)})"
    """
    runner.run(script)
    lines = dict(
        line.split(":") for line in runner.output("cat /proc/self/status").splitlines() if ":\t" in line
    )
    assert lines["Seccomp"].strip() == "2"
    assert lines["NoNewPrivs"].strip() == "0"
    for name in ("CapInh", "CapAmb"):
        assert int(lines[name], 16) == 0
    for name in ("CapEff", "CapPrm", "CapBnd"):
        assert int(lines[name], 16) & ~0xA80425FB == 0


def test_a_root_can_make_devices_but_open_harmless_ones_only(runner) -> None:
    """The host's disk is at hand by its numbers: nothing may open it, nor the memory."""
    disk = os.stat("/").st_dev
    script = f"""
    mknod /tmp/null c 1 3; echo x > /tmp/null
    mknod /tmp/disk b {os.major(disk)} {os.minor(disk)}
    fails 'dd if=/tmp/disk of=/tmp/out bs=512 count=1 2>/dev/null'
    mknod /tmp/mem c 1 1
    fails 'dd if=/tmp/mem of=/tmp/out bs=512 count=1 2>/dev/null'
    dd if=/dev/urandom of=/dev/full bs=1 count=1 2>&1 | grep -q space
    """
    runner.run(script)


def test_a_step_without_network_has_a_loopback_that_works(runner) -> None:
    script = (
        "ls /sys/class/net; ping -c1 -W1 127.0.0.1 >/dev/null; fails 'ping -c1 -W1 192.0.2.2 2>/dev/null'"
    )
    assert runner.output(script, network=NetMode.NONE).split()[0] == "lo"
    assert runner.output("ls -l /proc/self/ns/net").split()[-1] == os.readlink("/proc/self/ns/net")


def test_rights_must_be_allowed(runner) -> None:
    for fields, right in (({"network": NetMode.HOST}, "network.host"), ({"security": SecurityMode.INSECURE}, "security.insecure")):  # fmt: skip
        with pytest.raises(WorkerError, match=right) as caught:
            runner.run("true", **fields)
        assert f"--allow {right}" in caught.value.help
        runner.run("true", session=LocalSession(id="t", entitlements=frozenset({right})), **fields)


def test_an_insecure_step_may_mount(runner) -> None:
    session = LocalSession(id="t", entitlements=frozenset({"security.insecure"}))
    script = "mount -t tmpfs none /tmp; grep -q 'Seccomp:.0' /proc/self/status"
    runner.run(script, session=session, security=SecurityMode.INSECURE)


def test_memory_that_is_limited_runs_out(runner) -> None:
    script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=60 2>/dev/null"
    limit = LinuxResources(memory=16 << 20, memory_swap=16 << 20)
    verdict = runner.pools.run_sync("exec", lambda _: runner.containers.verdict())
    if not any(runtime.manages_cgroups for runtime in verdict.runtimes):
        with pytest.raises(EnvironmentLackError, match="can limit resources"):
            runner.run(script, resources=limit)
        return
    with pytest.raises(ExecError, match="ran out of memory") as caught:
        runner.run(script, resources=limit)
    assert caught.value.exit_code == 137


# -- endings


@pytest.mark.parametrize("code", [1, 127, 255])
def test_an_exit_code_is_what_the_process_said(bench, code) -> None:
    with pytest.raises(ExecError, match=f"exit code: {code}") as caught:
        bench.run(f"exit {code}")
    assert caught.value.exit_code == code
    bench.run(f"exit {code}", meta={"valid_exit_codes": (code,)})
    with pytest.raises(ExecError):
        bench.run("exit 0", meta={"valid_exit_codes": (code,)})


@pytest.mark.parametrize(
    ("program", "code"), [("/nope", 127), ("nope", 127), ("/etc/passwd", 126), ("/tmp", 126)]
)
def test_what_cannot_be_started_never_succeeds(runner, program, code) -> None:
    with pytest.raises(ExecError) as caught:
        runner.run(args=(program,), meta={"valid_exit_codes": (0, 126, 127)})
    assert caught.value.exit_code == code
    assert program in str(caught.value)


def test_a_missing_interpreter_is_said_in_plain_words(runner, helpers) -> None:
    def fill(root: Path) -> None:
        (root / "script").write_text("#!/no/such/shell\r\n")
        (root / "script").chmod(0o755)

    step = helpers.Step()
    with pytest.raises(ExecError):
        runner.run(args=("/script",), base=runner.snapshot(fill, runner.base), step=step)
    printed = step.output[2].decode()
    assert "/script" in printed
    assert "o such file or directory" in printed
    assert "{" not in printed


def test_a_killed_process_is_told_from_one_that_exits(runner, helpers) -> None:
    """The first process of a container can be killed from outside only."""

    def kill() -> None:
        for file in (runner.state.run / "containers").glob("*/pids/*"):
            with suppress(ValueError, ProcessLookupError):
                os.kill(int(file.read_text()), signal.SIGKILL)

    with pytest.raises(ExecError, match=r"137: killed by signal 9 \(SIGKILL\)"):
        runner.run("while true; do echo here; sleep 0.05; done", step=helpers.Step(kill))


def test_what_the_first_process_leaves_running_ends_with_it(bench) -> None:
    """Its standard output is still open in the child: the step ends all the same."""
    assert bench.output("(trap '' TERM HUP; sleep 60) & echo done") == "done\n"


# -- output


def test_output_arrives_byte_for_byte(bench, helpers) -> None:
    step = helpers.Step()
    script = "printf 'a\\r\\n\\377\\000\\303'; printf '\\251'; printf 'e\\n' >&2; dd if=/dev/zero bs=1M count=3 2>/dev/null"
    bench.run(script, step=step)
    assert (
        hashlib.sha256(step.output[1]).digest()
        == hashlib.sha256(b"a\r\n\xff\0\xc3\xa9" + bytes(3 << 20)).digest()
    )
    assert step.output[2] == b"e\n"
    assert max(len(data) for _, data in step.pieces) <= 1 << 16


# -- cancellation


@pytest.mark.parametrize(
    "script", ["printf partial; sleep 60", "trap '' TERM INT HUP; echo ready; sleep 60; sleep 60"]
)
def test_a_running_step_is_cancelled_whatever_it_does(bench, helpers, script) -> None:
    async def run() -> None:
        loop, started = asyncio.get_running_loop(), asyncio.Event()
        step = helpers.Step(lambda: loop.call_soon_threadsafe(started.set))
        task = asyncio.create_task(bench.start(script, step=step))
        async with asyncio.timeout(_TIMEOUT):
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(run())


@pytest.mark.parametrize("delay", [0, 0.004, 0.008, 0.012, 0.016, 0.024, 0.032, 0.05])
def test_a_step_can_be_cancelled_at_any_moment(bench, delay) -> None:
    """From before its mounts to after its end; whether it is late is not ours to say, what it leaves is."""
    mount = ops.Mount(dest="/t", input=-1, output=-1, mount_type=ops.MountType.TMPFS)

    async def run() -> None:
        task = asyncio.create_task(bench.start("true", mount))
        await asyncio.sleep(delay)
        task.cancel()
        async with asyncio.timeout(_TIMEOUT):
            await asyncio.wait([task])

    asyncio.run(run())
    assert bench.leftovers() == []
    bench.run("true")
