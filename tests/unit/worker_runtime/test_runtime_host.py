# SPDX-License-Identifier: Apache-2.0
"""What is found of runtimes on a host and remembered, and what is done about processes that died with containers."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llbkit.worker.base import EnvironmentLackError
from llbkit.worker.host.boot import boot_id
from llbkit.worker.host.pools import Pools
from llbkit.worker.runtime import detect as detecting
from llbkit.worker.runtime.detect import HostFinding, Runtime, Verdict, check_host, command, detect
from llbkit.worker.runtime.rundir import RunDirectory

_TIMEOUT = 20


def runtime(name: str, *, mode: detecting.Mode = "cgroups", path: str = "/bin/x") -> Runtime:
    return Runtime(name=name, path=path, mode=mode, seconds=0.01)


@pytest.fixture
def pools():
    made = Pools({"disk": 1}, private_mounts=True)
    yield made
    made.close()


# -- choosing


def test_the_first_runtime_that_can_is_chosen() -> None:
    fast, able = runtime("crun", mode="unified"), runtime("runc")
    both = Verdict(runtimes=(fast, able), findings=())
    assert both.choose() is fast
    assert both.choose(cgroups=True) is able
    with pytest.raises(EnvironmentLackError, match="can limit resources"):
        Verdict(runtimes=(fast,), findings=()).choose(cgroups=True)


def test_what_is_missing_decides_the_advice(monkeypatch) -> None:
    """A user who is not root is not told to install what is there."""
    missing = HostFinding(
        name="crun", ok=False, detail="crun is not installed", help="apt-get install -y crun"
    )
    refused = HostFinding(name="runc", ok=False, detail="runc (cgroups: not permitted)")
    for findings, user, message, advice in (
        ((missing,), 0, "no OCI runtime is installed", "apt-get install"),
        ((missing, refused), 0, "runc \\(cgroups: not permitted\\)$", "llbkit doctor"),
        ((missing, refused), 1000, "only root can start containers", "run as root"),
    ):
        monkeypatch.setattr("os.geteuid", lambda user=user: user)
        with pytest.raises(EnvironmentLackError, match=message) as caught:
            Verdict(runtimes=(), findings=findings).choose()
        assert advice in caught.value.help


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.root
def test_a_verdict_is_remembered_until_the_runtime_changes(pools, tmp_path) -> None:
    file, tries = tmp_path / "state/verdict", tmp_path / "tries"
    fake = script(tmp_path / "runc", f"echo x >> {tries}; exit 42")

    def look() -> tuple[Verdict, int]:
        before = tries.read_text().count("x") if tries.exists() else 0
        found = pools.run_sync("disk", lambda _: detect(file, str(fake)))
        return found, (tries.read_text().count("x") if tries.exists() else 0) - before

    first, count = look()
    assert ([r.name for r in first.runtimes], count) == (["runc"], 2)
    assert look() == (first, 0)
    for broken in (
        "",
        "{",
        "[]",
        '{"key": 1}',
        json.dumps({**json.loads(file.read_text()), "runtimes": [{}]}),
    ):
        file.write_text(broken)
        assert look()[1] == 2
    os.utime(fake, ns=(1, 1))
    assert look()[1] == 2
    script(fake, f"echo x >> {tries}; echo no such luck >&2; exit 1")
    found, _ = look()
    assert found.runtimes == ()
    assert any("no such luck" in finding.detail for finding in found.findings)
    script(fake, "exit 42")
    assert look()[0].runtimes


@pytest.mark.root
def test_the_host_is_reported_with_what_mends_it(pools) -> None:
    findings = {finding.name: finding for finding in pools.run_sync("disk", lambda _: check_host())}
    assert set(findings) == {"crun", "runc", "OCI runtime", "resource limits"}
    assert all(finding.ok or finding.help for finding in findings.values() if finding.name != "crun")
    for name in ("crun", "runc"):
        assert findings[name].ok or shutil.which(name) is None or findings[name].detail.count(":") >= 1


def test_a_runtime_is_called_with_its_state_and_mode(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(detecting, "_covered", lambda: False)
    assert command(runtime("runc", path="/r"), tmp_path) == ("/r", "--root", str(tmp_path))
    bare = command(runtime("crun", path="/c", mode="bare"), tmp_path)
    assert bare == ("/c", "--root", str(tmp_path), "--cgroup-manager=disabled")
    monkeypatch.setattr(detecting, "_covered", lambda: True)
    covered = command(runtime("runc", path="/r"), tmp_path)
    assert covered[-3:] == ("/r", "--root", str(tmp_path))
    assert covered[0] == "unshare"


# -- the dead


def deleting(folder: Path) -> tuple[str, ...]:
    """Return a command prefix that notes what it is asked to delete."""
    return (str(script(folder / "delete", f'echo "$@" >> {folder}/deleted')),)


def neighbour(root: Path, name: str, *, boot: bytes = b"", **pids: object) -> Path:
    """Make what another process has below its run directory: containers with the numbers of their first processes."""
    (root / name / "pids").mkdir(parents=True)
    (root / name / "work").mkdir()
    (root / name / "lock").write_bytes(boot or boot_id())
    for container, pid in pids.items():
        (root / name / "pids" / container).write_text(str(pid))
    return root / name


@pytest.mark.root
def test_containers_of_dead_processes_are_killed_and_no_other_process_is(pools, tmp_path) -> None:
    root = tmp_path / "run"
    orphan, reused, held, new = (subprocess.Popen(["sleep", "60"]) for _ in range(4))
    try:
        dead = neighbour(root, "dead", a=orphan.pid, b=reused.pid, c="", d="x", e=2**22 + 1)
        # The number was given to a process that began after the container had.
        os.utime(dead / "pids" / "b", (time.time() - 60, time.time() - 60))
        neighbour(root, "before the last start", boot=b"another boot", g=new.pid)
        living = neighbour(root, "living", f=held.pid)
        with open(living / "lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            made = pools.run_sync("disk", lambda _: RunDirectory(root))
            pools.run_sync("disk", lambda _: made.close())
        assert orphan.wait(_TIMEOUT) == -9
        assert reused.poll() is None
        assert held.poll() is None
        assert new.poll() is None
        assert not dead.exists()
        assert living.exists()
        assert not made.path.exists()
    finally:
        for process in (orphan, reused, held, new):
            process.kill()
            process.wait()


@pytest.mark.root
def test_names_and_places_are_of_one_process(pools, tmp_path) -> None:
    def make(_: object) -> list[RunDirectory]:
        return [RunDirectory(tmp_path / "run") for _ in range(2)]

    def use(_: object) -> None:
        with one.work() as first, one.work() as second:
            assert first != second
            (first / "secret").write_text("x")
            assert os.statvfs(first).f_bsize
            with pytest.raises(FileNotFoundError):
                (two.path / "work" / first.name / "secret").read_text()
        assert not first.exists()

    one, two = pools.run_sync("disk", make)
    pools.run_sync("disk", use)
    assert len({*(one.next_id() for _ in range(3)), *(two.next_id() for _ in range(3))}) == 6
    assert list((one.path / "work").iterdir()) == [], "what is in memory is invisible to the host"
    for directory in (one, two):
        pools.run_sync("disk", lambda _, d=directory: d.close())


@pytest.mark.root
def test_a_warden_deletes_when_its_owner_is_killed(tmp_path) -> None:
    """The owner is killed without a chance to clean up; its containers must not run on."""
    prefix = deleting(tmp_path)
    program = f"""
import os, pathlib, signal
from llbkit.worker.host.pools import Pools
from llbkit.worker.runtime.rundir import RunDirectory
pools = Pools({{"disk": 1}}, private_mounts=True)
def work(_):
    made = RunDirectory(pathlib.Path({str(tmp_path / "run")!r}))
    (made.state("runc") / "left").mkdir(parents=True)
    made.watch("runc", {prefix!r})
    os.kill(os.getpid(), signal.SIGKILL)
pools.run_sync("disk", work)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -9
    deadline = time.monotonic() + _TIMEOUT
    while not (tmp_path / "deleted").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (tmp_path / "deleted").read_text() == "delete --force left\n"
