# SPDX-License-Identifier: Apache-2.0
"""Device access of containers whose runtime does not manage cgroups.

Root in a container may make device nodes, so something must keep it from opening the host's disks. A runtime that
manages cgroups installs a device filter. For one that does not, one cgroup of the version 1 ``devices`` controller is
set up with the usual rules, and the thread that starts containers lives in it: its children are born inside.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from llbkit.worker.host.syscalls import mount, unmount

_RULES = "c *:* m, b *:* m, c 1:3 rwm, c 1:5 rwm, c 1:7 rwm, c 1:8 rwm, c 1:9 rwm, c 5:0 rwm, c 5:2 rwm, c 136:* rwm"
_NAME = f"llbkit-sandbox-{hashlib.sha256(_RULES.encode()).hexdigest()[:12]}"
"""Named after its rules, which therefore never change."""


def confine_thread(place: Path) -> bool:
    """Put the calling thread, and so its later children, under the device rules; return whether that worked."""
    try:
        with _devices_controller(place) as controller:
            cgroup = controller / _NAME
            if not cgroup.is_dir():
                _make(cgroup)
            (cgroup / "tasks").write_text(str(threading.get_native_id()))
    except OSError:
        return False
    return True


def _make(cgroup: Path) -> None:
    """Make the cgroup under its name only once its rules are set: other processes' containers may be born into it."""
    draft = cgroup.with_name(f"{cgroup.name}.{os.getpid()}.{threading.get_native_id()}")
    draft.mkdir(mode=0o755)
    try:
        (draft / "devices.deny").write_text("a")
        for rule in _RULES.split(", "):
            (draft / "devices.allow").write_text(rule)
        draft.rename(cgroup)
    except OSError:
        draft.rmdir()
        if not cgroup.is_dir():  # else another process was first
            raise


@contextlib.contextmanager
def _devices_controller(place: Path) -> Iterator[Path]:
    """The root of the controller's tree, mounted below ``place`` for a moment: its usual place may be covered.

    Raises:
        OSError: the kernel has no such controller.
    """
    with tempfile.TemporaryDirectory(prefix="devices-", dir=place) as directory:
        mount("none", directory, "cgroup", data="devices")
        try:
            yield Path(directory)
        finally:
            unmount(directory)
