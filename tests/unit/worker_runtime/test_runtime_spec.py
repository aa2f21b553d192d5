# SPDX-License-Identifier: Apache-2.0
"""The runtime configuration of a step, held against the runtime specification and the usual container defaults."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from llbkit.llb.ir.graph import LinuxResources
from llbkit.llb.ir.ops import HostIP, NetMode, Ulimit
from llbkit.worker.base import WorkerError
from llbkit.worker.runtime import seccomp
from llbkit.worker.runtime.etcfiles import hosts_file, resolv_conf
from llbkit.worker.runtime.spec import (
    CAPABILITIES,
    MountSpec,
    Sandbox,
    all_capabilities,
    bind,
    build,
    without_device_access,
)
from llbkit.worker.runtime.users import User

_ROOT_CAPABILITIES = {
    f"CAP_{name}"
    for name in [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ]
}
_HIDDEN = {
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
}  # fmt: skip
_FIXED = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
_MACHINES = ("x86_64", "aarch64", "ppc64le", "s390x", "riscv64")


def config(**fields: object) -> dict:
    return build(Sandbox(**{"root": Path("/r"), "args": ("/bin/true",), **fields}))  # type: ignore[arg-type]


def namespaces(made: dict) -> set[str]:
    return {item["type"] for item in made["linux"]["namespaces"]}


# -- isolation


@pytest.mark.parametrize(
    ("network", "own"), [(NetMode.UNSET, False), (NetMode.HOST, False), (NetMode.NONE, True)]
)
@pytest.mark.parametrize("insecure", [False, True])
def test_namespaces_are_private_but_for_the_network(network, own, insecure) -> None:
    found = namespaces(config(network=network, insecure=insecure))
    assert found - {"cgroup"} == {"pid", "ipc", "uts", "mount"} | ({"network"} if own else set())
    assert ("cgroup" in found) == Path("/proc/self/ns/cgroup").exists()


def test_no_namespace_is_joined() -> None:
    assert all(set(item) == {"type"} for item in config()["linux"]["namespaces"])


def test_a_sandbox_hides_and_fixes_the_kernels_files() -> None:
    linux = config()["linux"]
    assert set(linux["maskedPaths"]) >= _HIDDEN
    assert set(linux["readonlyPaths"]) >= _FIXED
    assert "devices" not in linux
    mounts = {mount["destination"]: mount for mount in config()["mounts"]}
    for path in ("/sys", "/sys/fs/cgroup"):
        assert {"ro", "nosuid", "nodev", "noexec"} <= set(mounts[path]["options"])


def test_an_insecure_step_has_everything() -> None:
    made = config(insecure=True, cgroup="/c")
    assert not {"maskedPaths", "readonlyPaths", "seccomp"} & set(made["linux"])
    granted = made["process"]["capabilities"]
    assert all(
        set(granted[kind]) == set(all_capabilities()) for kind in ("bounding", "effective", "permitted")
    )
    assert set(granted["inheritable"]) == set(granted["ambient"]) == set(all_capabilities())
    assert made["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    mounts = {mount["destination"]: mount for mount in made["mounts"]}
    assert all("rw" in mounts[path]["options"] for path in ("/sys", "/sys/fs/cgroup"))
    paths = [device["path"] for device in made["linux"]["devices"]]
    assert len(paths) == len(set(paths))
    assert not {"/dev/null", "/dev/tty", "/dev/console"} & set(paths)


def test_a_sandboxed_root_has_the_usual_capabilities_and_hands_none_on() -> None:
    granted = config()["process"]["capabilities"]
    assert set(CAPABILITIES) == _ROOT_CAPABILITIES
    for kind in ("bounding", "effective", "permitted"):
        assert set(granted[kind]) == _ROOT_CAPABILITIES & set(all_capabilities())
    assert not granted.get("inheritable")
    assert not granted.get("ambient")


def test_without_device_rules_no_device_can_be_made() -> None:
    made = build(without_device_access(Sandbox(root=Path("/r"), args=("x",))))
    assert all("CAP_MKNOD" not in names for names in made["process"]["capabilities"].values())


def test_devices_are_closed_where_the_runtime_manages_cgroups() -> None:
    made = config(cgroup="/llbkit/x")["linux"]
    assert made["cgroupsPath"] == "/llbkit/x"
    assert made["resources"]["devices"] == [{"allow": False, "access": "rwm"}]
    assert not {"cgroupsPath", "resources"} & set(config()["linux"])


def test_setuid_programs_work_and_nothing_is_a_terminal() -> None:
    process = config()["process"]
    assert process["noNewPrivileges"] is False
    assert process["terminal"] is False


# -- the process


def test_the_process_is_what_was_asked_for() -> None:
    made = config(
        args=("/bin/sh", "-c", "é \n'\""), env=("A=1",), cwd="/w", hostname="box", readonly_root=True,
        user=User(uid=7, gid=8, groups=(9, 8)),
    )  # fmt: skip
    process = json.loads(json.dumps(made))["process"]
    assert process["args"] == ["/bin/sh", "-c", "é \n'\""]
    assert (process["env"], process["cwd"], made["hostname"]) == (["A=1"], "/w", "box")
    assert made["root"] == {"path": "/r", "readonly": True}
    assert process["user"] == {"uid": 7, "gid": 8, "additionalGids": [8, 9]}


def test_limits_have_the_kernels_names_and_the_last_of_two_counts() -> None:
    """The specification forbids two limits of one type; -1 is no limit."""
    limits = (Ulimit(name="nofile", soft=1, hard=2), Ulimit(name="core", soft=-1, hard=-1), Ulimit(name="nofile", soft=3, hard=4))  # fmt: skip
    unlimited = 2**64 - 1
    assert config(ulimits=limits)["process"]["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "soft": 3, "hard": 4},
        {"type": "RLIMIT_CORE", "soft": unlimited, "hard": unlimited},
    ]


def test_an_unknown_limit_lists_the_known() -> None:
    with pytest.raises(WorkerError, match="nofiles") as caught:
        config(ulimits=(Ulimit(name="nofiles", soft=1, hard=1),))
    assert "nofile" in caught.value.help


def test_resources_say_only_what_was_given() -> None:
    given = LinuxResources(memory=1 << 20, memory_swap=-1, cpu_shares=5, cpuset_cpus="0-1")
    made = config(cgroup="/c", resources=given)["linux"]["resources"]
    assert made["memory"] == {"limit": 1 << 20, "swap": -1}
    assert made["cpu"] == {"shares": 5, "cpus": "0-1"}
    other = LinuxResources(cpu_period=1000, cpu_quota=500, cpuset_mems="0")
    made = config(cgroup="/c", resources=other)["linux"]["resources"]
    assert made["cpu"] == {"period": 1000, "quota": 500, "mems": "0"}
    assert "memory" not in made


# -- mounts


def test_standard_mounts_come_first_and_parents_before_children() -> None:
    places = [
        mount["destination"] for mount in config(mounts=(bind(Path("/s"), "/m", readonly=True),))["mounts"]
    ]
    assert places[-1] == "/m"
    assert set(places) >= {"/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"}
    assert all(places.index("/dev") < places.index(place) for place in places if place.startswith("/dev/"))
    assert len(places) == len(set(places))


def test_shared_memory_has_the_usual_size_unless_it_is_mounted() -> None:
    own = MountSpec(destination="/dev/shm/", type="tmpfs", source="tmpfs", options=("size=1",))
    standard = [mount for mount in config()["mounts"] if mount["destination"] == "/dev/shm"]
    assert "size=65536k" in standard[0]["options"]
    assert "mode=1777" in standard[0]["options"]
    given = [
        mount for mount in config(mounts=(own,))["mounts"] if mount["destination"].startswith("/dev/shm")
    ]
    assert [mount["options"] for mount in given] == [["size=1"]]


# -- system calls


def verdict(profile: dict, name: str) -> list[dict]:
    return [rule for rule in profile["syscalls"] if name in rule["names"]]


def sandboxed(machine: str = "x86_64") -> dict:
    made = seccomp.profile(frozenset(CAPABILITIES), machine)
    assert made is not None
    return made


@pytest.mark.parametrize("machine", _MACHINES)
def test_every_call_has_one_verdict(machine) -> None:
    """Two unconditional rules for a call would leave the outcome to the runtime's order."""
    plain = [
        name for rule in sandboxed(machine)["syscalls"] if not rule.get("args") for name in rule["names"]
    ]
    assert len(plain) == len(set(plain))
    conditional = {
        name for rule in sandboxed(machine)["syscalls"] if rule.get("args") for name in rule["names"]
    }
    assert conditional == {"personality", "socket", "clone"}
    assert not conditional & set(plain)


@pytest.mark.parametrize("machine", _MACHINES)
def test_the_profile_has_the_form_of_the_specification(machine) -> None:
    made = sandboxed(machine)
    assert made["defaultAction"] == "SCMP_ACT_ERRNO"
    assert made["defaultErrnoRet"] == 38
    assert made["architectures"]
    for rule in made["syscalls"]:
        assert rule["action"] in ("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO")
        assert ("errnoRet" in rule) == (rule["action"] == "SCMP_ACT_ERRNO")
        assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in rule["names"])
        for argument in rule.get("args", ()):
            assert 0 <= argument["index"] < 6
            assert argument["op"].startswith("SCMP_CMP_")


@pytest.mark.parametrize(
    "name",
    [
        "mount",
        "umount2",
        "unshare",
        "setns",
        "pivot_root",
        "bpf",
        "perf_event_open",
        "init_module",
        "finit_module",
        "kexec_load",
        "reboot",
        "swapon",
        "keyctl",
        "add_key",
        "request_key",
        "open_by_handle_at",
        "clock_settime",
        "userfaultfd",
        "io_uring_setup",
        "syslog",
        "acct",
        "iopl",
        "open_tree",
        "move_mount",
        "fsopen",
        "mount_setattr",
        "quotactl",
    ],
)
def test_calls_that_reach_beyond_a_container_are_refused(name) -> None:
    rules = verdict(sandboxed(), name)
    assert [(rule["action"], rule["errnoRet"]) for rule in rules] == [("SCMP_ACT_ERRNO", 1)]


def test_namespaces_cannot_be_made_by_clone() -> None:
    """clone3 must look absent, so that libraries fall back to clone, whose flags can be seen."""
    (clone3,) = verdict(sandboxed(), "clone3")
    assert (clone3["action"], clone3["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)
    (clone,) = verdict(sandboxed(), "clone")
    (argument,) = clone["args"]
    new = 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000 | 0x00020000
    assert (argument["value"], argument["valueTwo"], argument["index"]) == (new, 0, 0)
    (clone,) = verdict(sandboxed("s390x"), "clone")
    assert clone["args"][0]["index"] == 1


@pytest.mark.parametrize(
    "name",
    [
        "execve",
        "openat2",
        "statx",
        "faccessat2",
        "fchmodat2",
        "close_range",
        "clone3",
        "rseq",
        "pidfd_open",
        "copy_file_range",
        "memfd_create",
        "landlock_create_ruleset",
        "epoll_pwait2",
        "futex_waitv",
        "getrandom",
        "chroot",
        "mknodat",
        "ptrace",
        "renameat2",
        "getxattrat",
    ],
)
def test_calls_that_programs_need_are_allowed(name) -> None:
    capable = seccomp.profile(frozenset((*CAPABILITIES, "CAP_SYS_ADMIN")), "x86_64")
    assert capable is not None
    for made in (capable,) if name == "clone3" else (sandboxed(), capable):
        assert [rule["action"] for rule in verdict(made, name)] == ["SCMP_ACT_ALLOW"]


def test_a_capability_unlocks_its_calls() -> None:
    capable = seccomp.profile(frozenset((*CAPABILITIES, "CAP_SYS_ADMIN")), "x86_64")
    assert capable is not None
    for name in ("mount", "unshare", "setns", "clone", "clone3"):
        assert [rule["action"] for rule in verdict(capable, name)] == ["SCMP_ACT_ALLOW"]
        assert not verdict(capable, name)[0].get("args")


def test_an_unknown_machine_has_no_filter() -> None:
    assert seccomp.profile(frozenset(), "pdp11") is None


# -- /etc files


def test_hosts_know_the_step_and_what_was_added() -> None:
    text = hosts_file("box", (HostIP(host="db", ip="10.0.0.1"), HostIP(host="db", ip="fd00::1")))
    rows = [line.split() for line in text.splitlines()]
    assert ["127.0.0.1", "localhost", "box"] in rows
    assert any(row[0] == "::1" and "localhost" in row for row in rows)
    assert rows[-2:] == [["10.0.0.1", "db"], ["fd00::1", "db"]]
    assert text.endswith("\n")


def test_resolvers_on_loopback_are_left_out_of_a_private_network(tmp_path) -> None:
    file = tmp_path / "resolv.conf"
    lines = [
        "search example.org\n", "nameserver 127.0.0.53\n", "nameserver ::1\n", "nameserver 192.0.2.1\n",
        "nameserver fe80::1%eth0\n", "# nameserver 127.0.0.1\n", "nameserver\n", "options edns0",
    ]  # fmt: skip
    file.write_text("".join(lines))
    assert resolv_conf(host_network=True, source=file) == file.read_text()
    kept = [line for line in lines if line not in ("nameserver 127.0.0.53\n", "nameserver ::1\n")]
    assert resolv_conf(host_network=False, source=file) == "".join(kept)
    assert resolv_conf(host_network=True, source=tmp_path / "none") == ""
