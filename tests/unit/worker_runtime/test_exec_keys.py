# SPDX-License-Identifier: Apache-2.0
"""What makes two execs the same step, and which platforms can be run here."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from llbkit.llb.ir import ops, platform
from llbkit.llb.ir.graph import Edge, Vertex
from llbkit.llb.ir.ops import ContentCache, MountType, Platform
from llbkit.worker.base import EnvironmentLackError
from llbkit.worker.ops.exec import key as exec_key
from llbkit.worker.ops.exec import platform as exec_platform

META = ops.Meta(
    args=("/bin/sh", "-c", "true"),
    cwd="/",
    extra_hosts=(ops.HostIP(host="h", ip="1.1.1.1"),),
    remove_mount_stubs_recursive=True,
)
ROOT = ops.Mount(dest="/", input=0, output=0)
BIND = ops.Mount(dest="/m", input=1, output=-1, selector="/s", readonly=True)
TMPFS = ops.Mount(dest="/t", input=-1, output=-1, mount_type=MountType.TMPFS, tmpfs=ops.TmpfsOpt(size=1))
CACHE = ops.Mount(dest="/c", input=-1, output=-1, mount_type=MountType.CACHE, cache=ops.CacheOpt(id="c"))
SECRET = ops.Mount(dest="/k", input=-1, mount_type=MountType.SECRET, secret=ops.SecretOpt(id="s", mode=0o400))
SSH = ops.Mount(dest="/a", input=-1, mount_type=MountType.SSH, ssh=ops.SSHOpt(id="a", mode=0o600))
OP = ops.Exec(meta=META, mounts=(ROOT, BIND, TMPFS, CACHE, SECRET, SSH))
AMD64 = Platform(os="linux", architecture="amd64")


def key(op: ops.Exec, platform: Platform = AMD64, inputs: int = 2):
    below = Vertex(op=ops.Source(identifier="docker-image://x"), inputs=(), digest="x", raw=b"")
    return exec_key.cache_map(
        Vertex(op=op, inputs=(Edge(below),) * inputs, digest="d", raw=b""), op, platform
    )


def with_meta(**fields: object) -> ops.Exec:
    return replace(OP, meta=replace(META, **fields))


def with_mount(old: ops.Mount, **fields: object) -> ops.Exec:
    return replace(OP, mounts=tuple(replace(m, **fields) if m is old else m for m in OP.mounts))


@pytest.mark.parametrize(
    "other",
    [
        with_meta(args=("/bin/sh", "-c", "false")), with_meta(args=("/bin/sh", "-c true")), with_meta(env=("A=1",)),
        with_meta(cwd="/w"), with_meta(user="ann"), with_meta(hostname="h"), with_meta(valid_exit_codes=(1,)),
        with_meta(extra_hosts=(ops.HostIP(host="i", ip="1.1.1.1"),)), with_meta(remove_mount_stubs_recursive=False),
        with_meta(ulimit=(ops.Ulimit(name="nofile", soft=1, hard=1),)), replace(OP, network=ops.NetMode.NONE),
        replace(OP, network=ops.NetMode.HOST), replace(OP, security=ops.SecurityMode.INSECURE),
        replace(OP, secret_env=(ops.SecretEnv(id="s", name="S"),)), replace(OP, mounts=OP.mounts[:-1]),
        replace(OP, secret_env=(ops.SecretEnv(id="s", name="S", optional=True),)),
        with_mount(BIND, dest="/n"), with_mount(BIND, selector="/r"), with_mount(BIND, readonly=False),
        with_mount(BIND, input=0), with_mount(BIND, output=1), with_mount(TMPFS, tmpfs=ops.TmpfsOpt(size=2)),
        with_meta(extra_hosts=META.extra_hosts * 2), with_meta(extra_hosts=()), with_mount(CACHE, dest="/d"),
        with_mount(SECRET, secret=ops.SecretOpt(id="r", mode=0o400)),
        with_mount(SECRET, secret=ops.SecretOpt(id="s", mode=0o440)),
        with_mount(SECRET, secret=ops.SecretOpt(id="s", mode=0o400, uid=1)),
        with_mount(SECRET, secret=ops.SecretOpt(id="s", mode=0o400, optional=True)),
        with_mount(SSH, ssh=ops.SSHOpt(id="a", mode=0o600, gid=1)),
    ],
)  # fmt: skip
def test_what_a_process_can_see_is_in_the_key(other) -> None:
    assert key(other).digest != key(OP).digest


@pytest.mark.parametrize(
    "other",
    [
        with_meta(cgroup_parent="/x"),
        with_meta(proxy_env=ops.ProxyEnv(http_proxy="http://p")),
        with_meta(extra_hosts=(ops.HostIP(host="h", ip="2.2.2.2"),)),
        with_mount(CACHE, cache=ops.CacheOpt(id="d")),
        with_mount(CACHE, cache=ops.CacheOpt(id="c", sharing=ops.CacheSharing.LOCKED)),
    ],
)
def test_what_does_not_change_the_result_is_not(other) -> None:
    assert key(other).digest == key(OP).digest


def test_platforms_have_keys_of_their_own() -> None:
    others = [
        replace(AMD64, architecture="arm64"),
        replace(AMD64, variant="v3"),
        replace(AMD64, os="windows"),
    ]
    assert len({key(OP, platform).digest for platform in (AMD64, *others)}) == 4


@pytest.mark.parametrize(
    ("mounts", "content"),
    [
        ((BIND,), True),
        ((replace(BIND, readonly=False),), True),
        ((replace(BIND, readonly=False, output=1),), False),
        ((replace(BIND, output=1),), True),
        ((replace(BIND, content_cache=ContentCache.OFF),), False),
        ((replace(BIND, readonly=False, output=1, content_cache=ContentCache.ON),), True),
        ((BIND, replace(BIND, dest="/w", readonly=False, output=1)), False),
        ((replace(CACHE, input=1),), True),
        ((), False),
    ],
)
def test_an_input_counts_by_content_unless_the_step_changes_what_is_kept(mounts, content) -> None:
    inputs = key(replace(OP, mounts=(ROOT, *mounts))).inputs
    assert not inputs[0].content
    assert inputs[1].content is content


def test_only_what_is_mounted_of_an_input_counts() -> None:
    mounts = (BIND, replace(BIND, dest="/n", selector="a/../b/"), replace(BIND, dest="/o", selector="/s"))
    op = replace(OP, mounts=(ROOT, *mounts))
    assert exec_key.selectors(op, 1) == ("/b", "/s")
    assert key(op).inputs[1].selector == "/b\n/s"
    whole = replace(OP, mounts=(ROOT, replace(BIND, selector="")))
    assert key(whole).inputs[1].selector == ""


# -- platforms


def entry(folder, name: str, machine: int, flags: str, *, enabled: bool = True) -> None:
    magic = "7f454c46020101" + "00" * 9 + "0200" + machine.to_bytes(2, "little").hex()
    text = f"{'enabled' if enabled else 'disabled'}\ninterpreter /usr/bin/x\nflags: {flags}\noffset 0\nmagic {magic}\n"
    (folder / name).write_text(text)


def test_foreign_programs_need_an_emulator_that_containers_reach(tmp_path) -> None:
    foreign = Platform(os="linux", architecture="s390x" if os.uname().machine != "s390x" else "riscv64")
    machine = exec_platform._ELF_MACHINE[foreign.architecture]
    for name in ("register", "status"):
        (tmp_path / name).write_text("enabled\n")
    with pytest.raises(EnvironmentLackError, match="no emulator") as caught:
        exec_platform.require_emulator(foreign, binfmt=tmp_path)
    assert caught.value.help
    entry(tmp_path, "other", 183 if machine != 183 else 62, "F")
    entry(tmp_path, "off", machine, "F", enabled=False)
    with pytest.raises(EnvironmentLackError, match="no emulator"):
        exec_platform.require_emulator(foreign, binfmt=tmp_path)
    entry(tmp_path, "on", machine, "OC")
    with pytest.raises(EnvironmentLackError, match="F flag"):
        exec_platform.require_emulator(foreign, binfmt=tmp_path)
    entry(tmp_path, "on", machine, "OCF")
    exec_platform.require_emulator(foreign, binfmt=tmp_path)


def test_the_hosts_own_programs_need_none(tmp_path) -> None:
    exec_platform.require_emulator(platform.default(), binfmt=tmp_path / "none")
    exec_platform.require_emulator(Platform(os="", architecture=""), binfmt=tmp_path / "none")
    with pytest.raises(EnvironmentLackError, match="windows"):
        exec_platform.require_linux(Platform(os="windows", architecture="amd64"))
