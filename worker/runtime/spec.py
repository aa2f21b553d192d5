# SPDX-License-Identifier: Apache-2.0
"""The OCI runtime configuration of one build step (runtime-spec, config.md and config-linux.md).

Defaults are those of BuildKit's OCI worker without CNI: the host's network, every other namespace private, the usual
container capabilities, masked kernel files, a system call filter, no resource limits, no terminal.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import field, replace
from functools import cache
from pathlib import Path

from llbkit.llb.ir.graph import LinuxResources
from llbkit.llb.ir.ops import NetMode, Ulimit
from llbkit.records import dataclass
from llbkit.worker.base import WorkerError
from llbkit.worker.runtime import seccomp
from llbkit.worker.runtime.users import User

DEFAULT_HOSTNAME = "buildkitsandbox"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_SANDBOX_CAPABILITIES = """
AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_CHROOT
"""
_KERNEL_CAPABILITIES = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
_MASKED = """
/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi
/proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware
"""
_READ_ONLY = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger"
_RLIMITS = """
as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack
"""

CAPABILITIES = tuple(f"CAP_{name}" for name in _SANDBOX_CAPABILITIES.split())
"""What a sandboxed root may do."""

_CLOSED = ("nosuid", "noexec", "nodev")


@dataclass(frozen=True, slots=True, kw_only=True)
class MountSpec:
    """One entry of the configuration's ``mounts``. ``type`` is ``bind`` or a kernel file system name."""

    destination: str
    type: str
    source: str
    options: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return the runtime-spec form."""
        return {
            "destination": self.destination,
            "type": self.type,
            "source": self.source,
            "options": list(self.options),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """Everything that decides the configuration of one process.

    ``root`` is a directory that is a root filesystem already; ``mounts`` are laid over the standard ones in the given
    order and replace a standard one at the same place. Of two ``ulimits`` for one thing the last counts. ``cgroup`` is the cgroup's path when the runtime manages one,
    else "". ``env`` is final. Without ``device_nodes`` none can be made.
    """

    root: Path
    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: User = field(default_factory=User)
    hostname: str = DEFAULT_HOSTNAME
    readonly_root: bool = False
    mounts: tuple[MountSpec, ...] = ()
    network: NetMode = NetMode.UNSET
    insecure: bool = False
    ulimits: tuple[Ulimit, ...] = ()
    resources: LinuxResources | None = None
    cgroup: str = ""
    device_nodes: bool = True
    terminal: bool = False


def without_device_access(sandbox: Sandbox) -> Sandbox:
    """Return ``sandbox`` without the right to make device nodes: for when nothing else keeps it off the host's disks."""
    return replace(sandbox, device_nodes=False)


def bind(source: Path, destination: str, *, readonly: bool, options: Sequence[str] = ()) -> MountSpec:
    """Return a recursive bind mount of a file or directory."""
    flags = ("rbind", "ro" if readonly else "rw", *options)
    return MountSpec(destination=destination, type="bind", source=os.fspath(source), options=flags)


def build(sandbox: Sandbox) -> dict[str, object]:
    """Return the ``config.json`` object of ``sandbox``.

    Raises:
        WorkerError: a ulimit has no such name.
    """
    return {
        "ociVersion": "1.0.2",
        "process": _process(sandbox),
        "root": {"path": os.fspath(sandbox.root), "readonly": sandbox.readonly_root},
        "hostname": sandbox.hostname,
        "mounts": [mount.to_json() for mount in _mounts(sandbox)],
        "linux": _linux(sandbox),
    }


@cache
def all_capabilities() -> tuple[str, ...]:
    """Return every capability that this process can hand on."""
    known = tuple(f"CAP_{name}" for name in _KERNEL_CAPABILITIES.split())
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapBnd:"):
            bounding = int(line.split()[1], 16)
            return tuple(name for bit, name in enumerate(known) if bounding >> bit & 1)
    return known


def _capabilities(sandbox: Sandbox) -> tuple[str, ...]:
    if sandbox.insecure:
        return all_capabilities()
    return tuple(
        name
        for name in CAPABILITIES
        if name in all_capabilities() and (sandbox.device_nodes or name != "CAP_MKNOD")
    )


def _process(sandbox: Sandbox) -> dict[str, object]:
    granted = list(_capabilities(sandbox))
    user = sandbox.user
    capabilities = {"bounding": granted, "effective": granted, "permitted": granted}
    if sandbox.insecure:  # ambient ones reach a process of any user
        capabilities |= {"inheritable": granted, "ambient": granted}
    return {
        "terminal": sandbox.terminal,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": _groups(user)},
        "args": list(sandbox.args),
        "env": list(sandbox.env),
        "cwd": sandbox.cwd,
        "capabilities": capabilities,
        "rlimits": list({limit.name: _rlimit(limit) for limit in sandbox.ulimits}.values()),
        "noNewPrivileges": False,
    }


def _groups(user: User) -> list[int]:
    """Supplementary groups with the primary one in: a process that changes its group keeps what that one is denied."""
    return list(dict.fromkeys((user.gid, *user.groups)))


def _rlimit(limit: Ulimit) -> dict[str, object]:
    if limit.name not in _RLIMITS.split():
        raise WorkerError(f'unknown ulimit "{limit.name}"', help="ulimits are " + ", ".join(_RLIMITS.split()))
    unlimited = 2**64 - 1
    return {
        "type": f"RLIMIT_{limit.name.upper()}",
        "soft": unlimited if limit.soft < 0 else limit.soft,
        "hard": unlimited if limit.hard < 0 else limit.hard,
    }


def _mounts(sandbox: Sandbox) -> Iterator[MountSpec]:
    replaced = {mount.destination.rstrip("/") for mount in sandbox.mounts}
    for mount in _standard_mounts(insecure=sandbox.insecure):
        if mount.destination not in replaced:
            yield mount
    yield from sandbox.mounts


def _standard_mounts(*, insecure: bool) -> Iterator[MountSpec]:
    access = "rw" if insecure else "ro"
    yield MountSpec(destination="/proc", type="proc", source="proc", options=_CLOSED)
    yield MountSpec(
        destination="/dev",
        type="tmpfs",
        source="tmpfs",
        options=("nosuid", "strictatime", "mode=755", "size=65536k"),
    )
    yield MountSpec(
        destination="/dev/pts",
        type="devpts",
        source="devpts",
        options=("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    )
    yield MountSpec(
        destination="/dev/shm", type="tmpfs", source="shm", options=(*_CLOSED, "mode=1777", "size=65536k")
    )
    yield MountSpec(destination="/dev/mqueue", type="mqueue", source="mqueue", options=_CLOSED)
    yield MountSpec(destination="/sys", type="sysfs", source="sysfs", options=(*_CLOSED, access))
    yield MountSpec(
        destination="/sys/fs/cgroup", type="cgroup", source="cgroup", options=(*_CLOSED, "relatime", access)
    )


def _linux(sandbox: Sandbox) -> dict[str, object]:
    namespaces = ["pid", "ipc", "uts", "mount"]
    if Path("/proc/self/ns/cgroup").exists():
        namespaces.append("cgroup")
    if sandbox.network is NetMode.NONE:
        namespaces.append("network")
    linux: dict[str, object] = {"namespaces": [{"type": name} for name in namespaces]}
    if sandbox.cgroup:
        linux["cgroupsPath"] = sandbox.cgroup
        linux["resources"] = _resources(sandbox)
    if sandbox.insecure:
        linux["devices"] = _host_devices()
        return linux
    linux["maskedPaths"] = _MASKED.split()
    linux["readonlyPaths"] = _READ_ONLY.split()
    filters = seccomp.profile(frozenset(_capabilities(sandbox)))
    if filters is not None:
        linux["seccomp"] = filters
    return linux


def _resources(sandbox: Sandbox) -> dict[str, object]:
    resources: dict[str, object] = {"devices": [{"allow": sandbox.insecure, "access": "rwm"}]}
    wanted = sandbox.resources or LinuxResources()
    memory = {"limit": wanted.memory, "swap": wanted.memory_swap}
    cpu = {
        "shares": wanted.cpu_shares,
        "period": wanted.cpu_period,
        "quota": wanted.cpu_quota,
        "cpus": wanted.cpuset_cpus,
        "mems": wanted.cpuset_mems,
    }
    for name, values in (("memory", memory), ("cpu", cpu)):
        given = {key: value for key, value in values.items() if value}
        if given:
            resources[name] = given
    return resources


def _host_devices(directory: Path = Path("/dev")) -> list[dict[str, object]]:
    """The host's device nodes (one level, terminals and what every container has left out)."""
    standard = {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "console"}
    devices: list[dict[str, object]] = []
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name in standard or entry.is_symlink():
                continue
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISBLK(status.st_mode) or stat.S_ISCHR(status.st_mode):
                devices.append(_device(entry.path, status))
    return devices


def _device(path: str, status: os.stat_result) -> dict[str, object]:
    return {
        "path": path,
        "type": "b" if stat.S_ISBLK(status.st_mode) else "c",
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }
