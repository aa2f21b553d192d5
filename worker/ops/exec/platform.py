# SPDX-License-Identifier: Apache-2.0
"""Whether this host can run programs of a platform: natively, or through a registered binfmt_misc interpreter."""

from __future__ import annotations

import os
from pathlib import Path

from llbkit.llb.ir.ops import Platform
from llbkit.worker.base import EnvironmentLackError

_NATIVE = {
    "x86_64": ("amd64", "386"),
    "aarch64": ("arm64",),
    "armv7l": ("arm",),
    "ppc64le": ("ppc64le",),
    "riscv64": ("riscv64",),
    "s390x": ("s390x",),
    "i686": ("386",),
    "loongarch64": ("loong64",),
}
_ELF_MACHINE = {
    "386": 3,
    "amd64": 62,
    "arm": 40,
    "arm64": 183,
    "loong64": 258,
    "mips64": 8,
    "mips64le": 8,
    "ppc64le": 21,
    "riscv64": 243,
    "s390x": 22,
}
_BINFMT = Path("/proc/sys/fs/binfmt_misc")


def require_linux(platform: Platform) -> None:
    """Make sure that a platform's programs are Linux's.

    Raises:
        EnvironmentLackError: they are not.
    """
    if platform.os not in ("linux", ""):
        raise EnvironmentLackError(
            f"cannot run {platform.os} programs on linux", help="build for a linux platform"
        )


def require_emulator(platform: Platform, *, binfmt: Path = _BINFMT) -> None:
    """Say what is missing after the kernel refused a program.

    It is asked afterwards because an image's programs need not be of its platform.

    Raises:
        EnvironmentLackError: programs of ``platform`` cannot run here.
    """
    if platform.architecture in ("", *_NATIVE.get(os.uname().machine, (os.uname().machine,))):
        return
    flags = _interpreter_flags(platform.architecture, binfmt)
    if flags is None:
        raise EnvironmentLackError(
            f"cannot run {platform.architecture} programs on this {os.uname().machine} machine: no emulator is registered",
            help="apt-get install -y qemu-user-static binfmt-support, or build for the native platform",
        )
    if "F" not in flags:
        raise EnvironmentLackError(
            f"the emulator for {platform.architecture} is registered without the F flag, so containers cannot reach it",
            help="register it with the F (fix binary) flag, as qemu-user-static does",
        )


def _interpreter_flags(architecture: str, binfmt: Path) -> str | None:
    """The flags of the enabled binfmt_misc entry for ``architecture``; None if there is none."""
    machine = _ELF_MACHINE.get(architecture)
    try:
        entries = [entry for entry in binfmt.iterdir() if entry.name not in ("register", "status")]
    except OSError:
        return None
    for entry in entries:
        try:
            lines = entry.read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            continue
        fields = dict(line.partition(" ")[::2] for line in lines)
        if "enabled" in fields and machine is not None and _machine_of(fields.get("magic", "")) == machine:
            return fields.get("flags:", "")
    return None


def _machine_of(magic: str) -> int | None:
    """The ELF machine number in a binfmt magic (hexadecimal), None if it does not reach that far."""
    try:
        header = bytes.fromhex(magic)
    except ValueError:
        return None
    if len(header) < 20 or not header.startswith(b"\x7fELF"):
        return None
    return int.from_bytes(header[18:20], "big" if header[5] == 2 else "little")
