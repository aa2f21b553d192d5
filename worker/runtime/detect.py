# SPDX-License-Identifier: Apache-2.0
"""Detect a working OCI runtime by trying each.

Hosts differ in ways that versions do not tell: a runtime may refuse hybrid cgroups, or lack the right to load a device
filter. So each runtime found is asked to run a process, in one *mode* after the other, and the fastest that answers
right is taken. The verdict is kept in a file, and is good until a runtime's binary or the kernel's boot changes.

Modes: ``cgroups`` leaves everything to the runtime (limits, device filter); ``bare`` starts it without cgroup
management; ``unified`` does the same below a fresh cgroup2 mount on /sys/fs/cgroup, for runtimes that refuse hosts with
both versions. The mount is made in the pools' private mount namespace and seen by nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from llbkit.records import dataclass
from llbkit.worker.base import EnvironmentLackError
from llbkit.worker.host.syscalls import mount
from llbkit.worker.runtime.spec import MountSpec, Sandbox, build
from llbkit.worker.state.scratch import scratch

Mode = Literal["cgroups", "bare", "unified"]

_SEARCH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_MODES: dict[str, tuple[Mode, ...]] = {"crun": ("cgroups", "bare", "unified"), "runc": ("cgroups",)}
_ORDER: tuple[Mode, ...] = ("cgroups", "bare", "unified")
_CGROUP_ROOT = Path("/sys/fs/cgroup")
_CGROUP2_MAGIC = "cgroup2"
_ANSWER = 42
_TIMEOUT = 20.0
_UNCOVER = (
    "unshare",
    "-m",
    "--propagation",
    "unchanged",
    "sh",
    "-c",
    'umount /sys/fs/cgroup && exec "$0" "$@"',
)
INSTALL = "apt-get install -y crun (or runc)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A runtime that passed its test. ``seconds`` is what it took to run a trivial process."""

    name: str
    path: str
    mode: Mode
    seconds: float

    @property
    def manages_cgroups(self) -> bool:
        """Whether it can limit resources and filter devices."""
        return self.mode == "cgroups"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFinding:
    """One thing looked at on this host; ``help`` is the command or step that mends it, "" if none is known."""

    name: str
    ok: bool
    detail: str
    help: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found: runtimes that work, fastest first, and one finding for each attempt."""

    runtimes: tuple[Runtime, ...]
    findings: tuple[HostFinding, ...]

    def choose(self, *, cgroups: bool = False) -> Runtime:
        """Return the fastest runtime; with ``cgroups`` the fastest that can limit resources.

        Raises:
            EnvironmentLackError: there is none.
        """
        for runtime in self.runtimes:
            if runtime.manages_cgroups or not cgroups:
                return runtime
        if self.runtimes:
            raise EnvironmentLackError(
                "no OCI runtime here can limit resources", help="install runc, or boot with cgroup v2"
            )
        if os.geteuid() != 0:
            raise EnvironmentLackError(
                "only root can start containers here", help="run as root: sudo llbkit ..."
            )
        refused = [finding.detail for finding in self.findings if not (finding.ok or finding.help)]
        if not refused:
            raise EnvironmentLackError("no OCI runtime is installed", help=INSTALL)
        raise EnvironmentLackError(
            "no installed OCI runtime works here: " + "; ".join(refused),
            help="`llbkit doctor` checks this host",
        )


def detect(cache_file: Path | None = None, wanted: str = "") -> Verdict:
    """Return what runtimes can do here, from ``cache_file`` if that is still right.

    ``wanted`` is the name or path of the only runtime to be considered; "" considers all.

    Must be called on a thread of the pools that containers are started from: the test may cover /sys/fs/cgroup.
    """
    binaries = dict(_find_binaries()) if not wanted else _named(wanted)
    key = _identity(binaries)
    known = _load(cache_file, key)
    if known is None:
        known = _test_all(binaries, None if cache_file is None else cache_file.parent / "tmp")
        if known.runtimes:
            _store(cache_file, key, known)
    elif any(runtime.mode == "unified" for runtime in known.runtimes):
        cover_cgroups()
    return known


def check_host(cache_file: Path | None = None) -> list[HostFinding]:
    """Return what a report on this host should say about containers; see `detect` for the calling thread."""
    verdict = detect(cache_file)
    findings = list(verdict.findings)
    if not verdict.runtimes:
        findings.append(HostFinding(name="OCI runtime", ok=False, detail="none works", help=INSTALL))
        return findings
    best = verdict.choose()
    detail = f"{best.name} ({best.mode}), {best.seconds * 1000:.0f} ms to start"
    findings.append(HostFinding(name="OCI runtime", ok=True, detail=detail))
    limits = any(runtime.manages_cgroups for runtime in verdict.runtimes)
    findings.append(
        HostFinding(
            name="resource limits",
            ok=limits,
            detail="can be set" if limits else "no runtime here manages cgroups",
            help="" if limits else "install runc, or boot with cgroup v2",
        )
    )
    return findings


def command(runtime: Runtime, state: Path) -> tuple[str, ...]:
    """Return the command prefix that calls ``runtime`` with its state below ``state``."""
    prefix: tuple[str, ...] = (runtime.path, "--root", os.fspath(state))
    if runtime.mode != "cgroups":
        return (*prefix, "--cgroup-manager=disabled")
    if _covered():
        return (*_UNCOVER, *prefix)
    return prefix


def cover_cgroups() -> None:
    """Mount an empty cgroup2 tree over /sys/fs/cgroup in this thread's mount namespace, unless there is one.

    Raises:
        OSError: the kernel refused.
    """
    if _mounted_types()[-1:] == [_CGROUP2_MAGIC]:
        return
    mount("llbkit", _CGROUP_ROOT, _CGROUP2_MAGIC)


def _covered() -> bool:
    return len(_mounted_types()) > 1


def _mounted_types() -> list[str]:
    """The types of the file systems mounted on /sys/fs/cgroup in this thread's namespace, the visible one last."""
    types = []
    for line in Path("/proc/thread-self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields = line.split()
        if fields[4] == str(_CGROUP_ROOT):
            types.append(fields[fields.index("-") + 1])
    return types


def _find_binaries() -> Iterator[tuple[str, str]]:
    search = os.pathsep.join((os.environ.get("PATH", ""), *_SEARCH))
    for name in _MODES:
        path = shutil.which(name, path=search)
        if path is not None:
            yield name, os.path.realpath(path)


def _named(wanted: str) -> dict[str, str]:
    """Return the binary that was asked for, under the name of the runtime it is.

    Raises:
        EnvironmentLackError: there is none, or it is neither crun nor runc.
    """
    search = os.pathsep.join((os.environ.get("PATH", ""), *_SEARCH))
    path = shutil.which(wanted, path=search)
    if path is None:
        raise EnvironmentLackError(f"runtime {wanted} not found", help=INSTALL)
    name = next((name for name in _MODES if os.path.basename(wanted).startswith(name)), None)
    if name is None:
        raise EnvironmentLackError(f"unsupported runtime {wanted}: use crun or runc", help=INSTALL)
    return {name: os.path.realpath(path)}


def _identity(binaries: dict[str, str]) -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    stamps = [f"{name}={path}@{os.stat(path).st_mtime_ns}" for name, path in sorted(binaries.items())]
    return " ".join([boot, f"uid={os.geteuid()}", *stamps])


def _load(file: Path | None, key: str) -> Verdict | None:
    if file is None:
        return None
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["key"] != key:
            return None
        return Verdict(
            runtimes=tuple(Runtime(**item) for item in data["runtimes"]),
            findings=tuple(HostFinding(**item) for item in data["findings"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _store(file: Path | None, key: str, verdict: Verdict) -> None:
    if file is None:
        return
    runtimes = [
        {"name": r.name, "path": r.path, "mode": r.mode, "seconds": r.seconds} for r in verdict.runtimes
    ]
    findings = [{"name": f.name, "ok": f.ok, "detail": f.detail, "help": f.help} for f in verdict.findings]
    file.parent.mkdir(parents=True, exist_ok=True)
    with scratch(file.parent / "tmp") as folder:
        (folder / file.name).write_text(
            json.dumps({"key": key, "runtimes": runtimes, "findings": findings}), "utf-8"
        )
        os.replace(folder / file.name, file)


def _test_all(binaries: dict[str, str], place: Path | None) -> Verdict:
    working: list[Runtime] = []
    refusals: dict[str, list[str]] = {name: [] for name in _MODES}
    for mode in _ORDER:
        for name, path in binaries.items():
            needless = mode != "cgroups" and any(runtime.name == name for runtime in working)
            if mode not in _MODES[name] or needless:
                continue
            outcome = _test(name, path, mode, place)
            if isinstance(outcome, Runtime):
                working.append(outcome)
            else:
                refusals[name].append(f"{mode}: {outcome}")
    working.sort(key=lambda runtime: runtime.seconds)
    findings = [_finding(name, name in binaries, working, refusals[name]) for name in _MODES]
    return Verdict(runtimes=tuple(working), findings=tuple(findings))


def _finding(name: str, installed: bool, working: Sequence[Runtime], refusals: Sequence[str]) -> HostFinding:
    if not installed:
        return HostFinding(
            name=name, ok=False, detail=f"{name} is not installed", help=f"apt-get install -y {name}"
        )
    good = [f"{r.mode}: works, {r.seconds * 1000:.0f} ms" for r in working if r.name == name]
    return HostFinding(name=name, ok=bool(good), detail=f"{name} ({'; '.join((*good, *refusals))})")


def _test(name: str, path: str, mode: Mode, place: Path | None) -> Runtime | str:
    """Run a process that ends with a known code; return the runtime, or what went wrong."""
    with scratch(place) as bundle:
        if mode == "unified":
            try:
                cover_cgroups()
            except OSError as error:
                return str(error)
        cgroup = f"/llbkit-probe-{os.getpid()}" if mode == "cgroups" else ""
        _write_probe(bundle, cgroup)
        runtime = Runtime(name=name, path=path, mode=mode, seconds=0)
        prefix = command(runtime, bundle / "state")
        argv = (*prefix, "run", "--bundle", os.fspath(bundle), f"llbkit-probe-{os.getpid()}")
        seconds = _TIMEOUT
        for _ in range(2):
            start = time.perf_counter()
            failure = _run_probe(argv)
            if failure:
                return failure
            seconds = min(seconds, time.perf_counter() - start)
        return Runtime(name=name, path=path, mode=mode, seconds=round(seconds, 4))


def _run_probe(argv: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == _ANSWER:
        return ""
    text = done.stderr.decode(errors="replace").strip().splitlines()
    return text[-1] if text else f"unexpected exit code {done.returncode}"


def _write_probe(bundle: Path, cgroup: str) -> None:
    """A root made of the host's programs, read-only."""
    root = bundle / "rootfs"
    root.mkdir()
    mounts = []
    for name in ("bin", "gnu", "lib", "lib32", "lib64", "nix", "sbin", "usr"):
        host = Path("/", name)
        if host.is_symlink():
            (root / name).symlink_to(os.readlink(host))
        elif host.is_dir():
            mounts.append(
                MountSpec(destination=str(host), type="bind", source=str(host), options=("rbind", "ro"))
            )
    sandbox = Sandbox(
        root=root, args=("/bin/sh", "-c", f"exit {_ANSWER}"), mounts=tuple(mounts), cgroup=cgroup
    )
    (bundle / "config.json").write_text(json.dumps(build(sandbox)), encoding="utf-8")
