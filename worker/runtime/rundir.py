# SPDX-License-Identifier: Apache-2.0
"""The directory in which one process keeps its running containers, and the cleaning up after processes that died.

``<root>/<token>/`` belongs to the process that holds a lock on ``<root>/<token>/lock``; the kernel drops the lock
however the process ends. Below it: ``state/<runtime>/`` (the runtime's own records) and ``work/`` (a tmpfs in the
pools' private mount namespace, so what is written there never reaches a disk and is gone with the process).

Two lines of defence against containers that outlive their owner: a *warden*, a shell that waits for the owner's end
and then deletes what runs, at once; and a sweep by every later process, for when the warden died as well.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import itertools
import os
import secrets
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from worker.base import StorageError

_MS_NOSUID, _MS_NODEV, _MNT_DETACH = 2, 4, 2
_libc = ctypes.CDLL(None, use_errno=True)
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


class RunDirectory:
    """This process's directory below ``root``; made, and dead neighbours swept, on construction.

    ``delete_command(runtime_name, state)`` returns the command prefix that calls a runtime on a state directory, or
    None if it is not installed any more. Construct it on a pool thread: it mounts.

    Raises:
        StorageError: the directory cannot be made.
    """

    def __init__(self, root: Path, delete_command: Callable[[str, Path], Sequence[str] | None]) -> None:
        self._root = root
        self._delete_command = delete_command
        self._wardens: dict[str, subprocess.Popen[bytes]] = {}
        self._guard = threading.Lock()
        self._numbers = itertools.count(1)
        self.token = f"{os.getpid():x}{secrets.token_hex(5)}"
        self.path = root / self.token
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o711)
            with _locked(root / "lock"):
                self._lock = self._claim()
                self._sweep()
            self._mount_work()
        except OSError as error:
            raise StorageError(
                f"cannot use {root}: {error.strerror}", help="check its owner and space"
            ) from error

    def next_id(self) -> str:
        """Return a container id that no other process uses."""
        return f"{self.token}-{next(self._numbers)}"

    def state(self, runtime: str) -> Path:
        """Return the state directory for ``runtime``."""
        return self.path / "state" / runtime

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
        _unmount(self.path / "work")
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def _claim(self) -> int:
        self.path.mkdir(mode=0o711)
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        (self.path / "state").mkdir(mode=0o700)
        (self.path / "work").mkdir(mode=0o711)
        return lock

    def _mount_work(self) -> None:
        work, flags = os.fsencode(self.path / "work"), _MS_NOSUID | _MS_NODEV
        if _libc.mount(b"llbkit", work, b"tmpfs", flags, b"mode=0711") != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"cannot mount a tmpfs ({os.strerror(code)})")

    def _sweep(self) -> None:
        """Delete what dead processes left below the root: containers first, then their directories."""
        for directory in _directories(self._root):
            if directory == self.path:
                continue
            lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            else:
                if self._delete_containers(directory):
                    _unmount(directory / "work")
                    shutil.rmtree(directory)
            finally:
                os.close(lock)

    def _delete_containers(self, directory: Path) -> bool:
        """Delete every container recorded below ``directory``; tell whether none is left."""
        clean = True
        for state in _directories(directory / "state"):
            command = self._delete_command(state.name, state)
            for container in _directories(state):
                if command is None:
                    clean = False
                    continue
                subprocess.run(
                    (*command, "delete", "--force", container.name),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=DELETE_TIMEOUT,
                    check=False,
                )
        return clean


def _directories(directory: Path) -> list[Path]:
    try:
        return sorted(p for p in directory.iterdir() if p.is_dir() and not p.name.startswith("."))
    except FileNotFoundError:
        return []


def _unmount(directory: Path) -> None:
    """Unmount ``directory`` if something is mounted on it."""
    _libc.umount2(os.fsencode(directory), _MNT_DETACH)


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``file`` among processes."""
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
