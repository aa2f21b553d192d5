# SPDX-License-Identifier: Apache-2.0
"""The directory of one process's running containers, and cleanup after processes that died.

``<root>/<token>/`` belongs to the process that holds a lock on ``<root>/<token>/lock``; the kernel drops the lock
however the process ends. Below it: ``pids/<container>`` (the number of its first process) and ``work/``, a tmpfs in the
pools' private mount namespace: what is written there never reaches a disk and is gone with the processes of the namespace.
There are the bundles and ``work/state/<runtime>/``, the runtime's own records; crun copies the whole configuration into
them, with the variables that are secrets.

Two lines of defence against containers that outlive their owner: a *warden*, a shell in the same namespace that waits for
the owner's end and then deletes what runs, at once; and a sweep by every later process, for when the warden died as well.
The sweep cannot see the runtime's records; it kills by number.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from llbkit.filelock import POLL_SECONDS, locked, try_lock
from llbkit.worker.base import StorageError
from llbkit.worker.host.boot import boot_id
from llbkit.worker.host.syscalls import MS_NODEV, MS_NOSUID, mount, unmount

_WARDEN = """
trap '' HUP INT TERM
read -r _
state=$1
shift
for entry in "$state"/*/; do
    [ -d "$entry" ] || continue
    entry=${entry%/}
    "$@" delete --force "${entry##*/}" >/dev/null 2>&1
done
"""
DELETE_TIMEOUT = 30.0
"""Seconds that a runtime may take to delete a container."""
_LOCK_TIMEOUT = 60.0
"""Seconds that another process may take to sweep."""
_RUNTIME_TIMEOUT = 2.0
"""Seconds in which a runtime has noticed that its container was killed, and cleaned up."""
_CLOCK_SLACK = 0.1
"""Seconds by which start times of processes and files may differ: they are counted in ticks."""


class RunDirectory:
    """This process's directory below ``root``; made, and dead neighbours swept, on construction.

    Construct it on a pool thread: it mounts.

    Raises:
        StorageError: the directory cannot be made.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._wardens: dict[str, subprocess.Popen[bytes]] = {}
        self._guard = threading.Lock()
        self._numbers = itertools.count(1)
        self.token = f"{os.getpid():x}{secrets.token_hex(5)}"
        self.path = root / self.token
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o711)
            with locked(root / "lock", timeout=_LOCK_TIMEOUT):
                self._lock = self._claim()
                self._sweep()
            self._mount_work()
            (self.path / "work" / "state").mkdir(mode=0o700)
        except OSError as error:
            raise StorageError(
                f"cannot use {root}: {error.strerror}", help="check its owner and free space"
            ) from error

    def next_id(self) -> str:
        """Return a container id that no other process uses."""
        return f"{self.token}-{next(self._numbers)}"

    def state(self, runtime: str) -> Path:
        """Return the state directory for ``runtime``."""
        return self.path / "work" / "state" / runtime

    @contextlib.contextmanager
    def pid_file(self, name: str) -> Iterator[Path]:
        """Where the runtime writes the number of a container's first process, for the sweep too."""
        path = self.path / "pids" / name
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def work(self) -> Iterator[Path]:
        """A fresh directory in memory for one container's files; removed with all it holds."""
        directory = self.path / "work" / f"{next(self._numbers)}"
        directory.mkdir(mode=0o711)
        try:
            yield directory
        finally:
            shutil.rmtree(directory)

    def watch(self, runtime: str, prefix: Sequence[str]) -> None:
        """Have the containers of ``runtime`` deleted with ``prefix`` should this process die."""
        with self._guard:
            if runtime in self._wardens:
                return
            self._wardens[runtime] = subprocess.Popen(
                ("/bin/sh", "-c", _WARDEN, "llbkit-warden", os.fspath(self.state(runtime)), *prefix),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def close(self) -> None:
        """Remove the directory. All containers must have ended."""
        for warden in self._wardens.values():
            warden.kill()
            warden.communicate()
        self._wardens.clear()
        with contextlib.suppress(OSError):  # it is not mounted if making it failed
            unmount(self.path / "work")
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def _claim(self) -> int:
        self.path.mkdir(mode=0o711)
        lock = try_lock(self.path / "lock")
        assert lock is not None, "the directory's name is this process's own"
        os.write(lock, boot_id())
        (self.path / "pids").mkdir(mode=0o700)
        (self.path / "work").mkdir(mode=0o711)
        return lock

    def _mount_work(self) -> None:
        try:
            mount("llbkit", self.path / "work", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0711")
        except OSError as error:
            text = f"cannot mount a tmpfs ({os.strerror(error.errno or 0)})"
            raise OSError(error.errno, text) from error

    def _sweep(self) -> None:
        """Delete what dead processes left below the root: containers first, then their directories."""
        for directory in _directories(self._root):
            if directory == self.path:
                continue
            lock = try_lock(directory / "lock")
            if lock is None:
                continue
            try:
                if os.read(lock, 64) == boot_id():  # else the numbers are those of other processes
                    _kill_containers(directory / "pids")
                shutil.rmtree(directory)
            finally:
                os.close(lock)


def _kill_containers(pids: Path) -> None:
    """Kill the first process of every container, and with it all others.

    Their runtimes, which wait for them, clean up; what they still do to the directory is waited for, within reason.
    """
    try:
        files = list(pids.iterdir())
    except FileNotFoundError:
        return
    parents = set()
    for file in files:
        with contextlib.suppress(OSError, ValueError):
            number, written = int(file.read_text(encoding="ascii")), file.stat().st_mtime
            started, parent = _born(number)
            if started <= written + _CLOCK_SLACK:
                os.kill(number, signal.SIGKILL)
                parents.add(parent)
    deadline = time.monotonic() + _RUNTIME_TIMEOUT
    while any(parent > 1 and Path(f"/proc/{parent}").exists() for parent in parents):
        if time.monotonic() > deadline:
            return
        time.sleep(POLL_SECONDS)


def _born(number: int) -> tuple[float, int]:
    """Return when a process was started, in seconds since 1970, and its parent.

    One that has taken over a number was started later than the one that had it.
    """
    text = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace")
    fields = text.rpartition(")")[2].split()  # fields 3, 4, ... of proc_pid_stat(5)
    with open("/proc/uptime", encoding="ascii") as file:
        uptime = float(file.read().split()[0])
    return time.time() - uptime + int(fields[19]) / os.sysconf("SC_CLK_TCK"), int(fields[1])


def _directories(directory: Path) -> list[Path]:
    try:
        return sorted(p for p in directory.iterdir() if p.is_dir() and not p.name.startswith("."))
    except FileNotFoundError:
        return []
