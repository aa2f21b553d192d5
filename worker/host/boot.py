# SPDX-License-Identifier: Apache-2.0
"""Which start of the machine this is: numbers of processes mean something only within one."""

from __future__ import annotations


def boot_id() -> bytes:
    """Return what names this start of the machine; nothing where the kernel does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return file.read().strip()
    except FileNotFoundError:
        return b""
