# SPDX-License-Identifier: Apache-2.0
"""Run one process in a container: start, streamed output, exit code, and reliable cancellation."""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import IO

from llbkit.records import dataclass
from llbkit.worker.base import CancelToken, EnvironmentLackError
from llbkit.worker.runtime.detect import Runtime, Verdict, command, detect
from llbkit.worker.runtime.devices import confine_thread
from llbkit.worker.runtime.rundir import DELETE_TIMEOUT, RunDirectory
from llbkit.worker.runtime.spec import Sandbox, build, without_device_access

Log = Callable[[int, bytes], None]
"""``log(stream, data)``: 1 is stdout, 2 is stderr."""

_CHUNK = 1 << 16
_PATIENCE = 5.0
"""Seconds that a runtime may take to make a container once it is to be killed."""
_POLL_SECONDS = 0.005
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
_LOG_FORMATS = {"crun": "text", "runc": "json"}
"""crun says on the process's own stderr, in this format, that a program could not be executed."""
_NO_PROGRAM = re.compile(r"exec(utable file .* not found|: .*(not found|no such file))", re.DOTALL)
"""What crun and runc say of a program that does not exist; of mounts they say "no such file" too."""
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a process ended. ``reason`` says more in words ("" if there is nothing to say).

    A process that was not ``started`` has the code a shell would give: 127 not found, 126 for every other reason.
    """

    code: int
    reason: str = ""
    started: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """The file descriptors that a process gets as its standard streams; no ``stdin`` is an empty one.

    With ``terminal`` the container has a terminal of its own, which the runtime connects to the one behind ``stdin``.
    """

    stdin: int | None
    stdout: int
    stderr: int
    terminal: bool = False


class Containers:
    """Runs containers for one llbkit process. Thread-safe; all methods are called on the pools' threads.

    ``run_root`` holds the directories of running containers (shared between processes); ``verdict_file`` remembers
    what the host's runtimes can do; ``wanted`` names the only runtime to be used, "" is the fastest that works. Nothing is
    touched before the first use.
    """

    def __init__(self, run_root: Path, verdict_file: Path | None = None, *, wanted: str = "") -> None:
        self._wanted = wanted
        self._run_root = run_root
        self._verdict_file = verdict_file
        self._lock = threading.Lock()
        self._verdict: Verdict | None = None
        self._directory: RunDirectory | None = None
        self._starter: ThreadPoolExecutor | None = None
        self._devices_confined = False

    def work(self) -> AbstractContextManager[Path]:
        """Return a context with a fresh directory in memory, for what is mounted into one container."""
        return self._open().work()

    def run(
        self,
        sandbox: Sandbox,
        log: Log,
        cancel: CancelToken,
        *,
        work: Path,
        cgroup_parent: str = "",
        attached: Attached | None = None,
    ) -> Exit:
        """Run the process of ``sandbox`` to its end and report its output on the way, unless it is ``attached``.

        ``work`` is a directory from `work`. When ``cancel`` is cancelled the container is killed and its records are
        deleted before this returns; the caller asks ``cancel`` afterwards.

        Raises:
            EnvironmentLackError: no runtime can do what is asked, or SIGCHLD is ignored in this process.
            WorkerError: the sandbox is not valid.
        """
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            raise EnvironmentLackError(
                "SIGCHLD is ignored in this process, so exit codes are lost",
                help="call signal.signal(signal.SIGCHLD, signal.SIG_DFL) before building",
            )
        directory = self._open()
        runtime = self._choose(sandbox, cgroup_parent)
        name = directory.next_id()
        state = directory.state(runtime.name)
        prefix = command(runtime, state)
        directory.watch(runtime.name, prefix)
        (work / "config.json").write_text(
            json.dumps(build(self._adapt(sandbox, runtime, name, cgroup_parent)))
        )
        log_file = work / "runtime.log"
        argv = (*prefix, "--log", os.fspath(log_file), "--log-format", _LOG_FORMATS[runtime.name], "run")
        kills = _kill_count()
        with directory.pid_file(name) as pid_file:
            argv = (*argv, "--bundle", os.fspath(work), "--pid-file", os.fspath(pid_file), name)
            confined = not (sandbox.insecure or runtime.manages_cgroups)
            process = self._start(argv, confined=confined, attached=attached)
            code = _supervise(process, log, cancel, pid_file)
            if cancel.cancelled or code < 0 or (state / name).exists():
                _delete(prefix, name)
        return _explain(code, log_file, out_of_memory=_kill_count() > kills)

    def close(self) -> None:
        """Remove this process's traces. All runs must have ended."""
        with self._lock:
            if self._starter is not None:
                self._starter.shutdown()
                self._starter = None
            if self._directory is not None:
                self._directory.close()
                self._directory = None

    def verdict(self) -> Verdict:
        """Return what the host's runtimes can do."""
        with self._lock:
            return self._detected()

    def _detected(self) -> Verdict:
        if self._verdict is None:
            self._verdict = detect(self._verdict_file, self._wanted)
        return self._verdict

    def _open(self) -> RunDirectory:
        with self._lock:
            if self._directory is None:
                self._detected().choose()
                self._directory = RunDirectory(self._run_root)
                self._starter = ThreadPoolExecutor(1, thread_name_prefix="llbkit-starter")
                if not self._detected().choose().manages_cgroups:
                    self._devices_confined = self._starter.submit(
                        confine_thread, self._directory.path
                    ).result()
            return self._directory

    def _choose(self, sandbox: Sandbox, cgroup_parent: str) -> Runtime:
        return self.verdict().choose(cgroups=sandbox.resources is not None or bool(cgroup_parent))

    def _adapt(self, sandbox: Sandbox, runtime: Runtime, name: str, parent: str) -> Sandbox:
        if runtime.manages_cgroups:
            return replace(sandbox, cgroup=os.path.join("/", parent or "llbkit", name))
        if not (self._devices_confined or sandbox.insecure):
            return without_device_access(sandbox)
        return sandbox

    def _start(
        self, argv: Sequence[str], *, confined: bool, attached: Attached | None
    ) -> subprocess.Popen[bytes]:
        def spawn() -> subprocess.Popen[bytes]:
            stdin = attached.stdin if attached and attached.stdin is not None else subprocess.DEVNULL
            return subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=attached.stdout if attached else subprocess.PIPE,
                stderr=attached.stderr if attached else subprocess.PIPE,
                bufsize=0,
                env=_ENVIRONMENT,
                start_new_session=attached
                is None,  # a terminal's signals are for those who are attached to it
            )

        if confined and self._starter is not None:
            return self._starter.submit(spawn).result()
        return spawn()


def _supervise(process: subprocess.Popen[bytes], log: Log, cancel: CancelToken, pid_file: Path) -> int:
    """Hand on the output of a runtime until it ends, and return its exit code; it has ended whatever happens."""
    try:
        with cancel.on_cancel(lambda: _kill(process, pid_file)):
            _stream(process, log)
            return process.wait()
    finally:
        if process.poll() is None:
            _kill(process, pid_file)
            process.wait()


def _delete(prefix: Sequence[str], name: str) -> None:
    """Remove what a runtime keeps of a container. If it takes too long, the warden and the next start try again."""
    command = (*prefix, "delete", "--force", name)
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=DELETE_TIMEOUT, check=False
        )


def _stream(process: subprocess.Popen[bytes], log: Log) -> None:
    """Hand on output until both streams have ended: when the last process that could write is gone."""
    streams: tuple[tuple[int, IO[bytes] | None], ...] = ((1, process.stdout), (2, process.stderr))
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as files:
        for number, pipe in streams:
            if pipe is not None:
                files.enter_context(pipe)
                selector.register(pipe, selectors.EVENT_READ, number)
        while selector.get_map():
            for key, _ in selector.select():
                data = os.read(key.fd, _CHUNK)
                if data:
                    log(key.data, data)
                else:
                    selector.unregister(key.fileobj)


def _kill(process: subprocess.Popen[bytes], pid_file: Path) -> None:
    """Kill the container's first process, and with it all others.

    A runtime that is killed while it makes the container may leave that process behind, so it gets a moment to say who
    it is. If it does not, it is killed with its children: they would hold its output open.
    """
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            os.kill(int(pid_file.read_text(encoding="ascii")), signal.SIGKILL)
            return
        except (FileNotFoundError, ValueError):
            time.sleep(_POLL_SECONDS)
        except ProcessLookupError:
            return
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _explain(code: int, log_file: Path, *, out_of_memory: bool) -> Exit:
    if code < 0:
        return Exit(
            code=128 - code, reason=f"the container runtime was killed by signal {-code}", started=False
        )
    failure = _runtime_error(log_file) if code else ""
    if failure:
        missing = _NO_PROGRAM.search(failure) is not None
        return Exit(code=_NOT_FOUND if missing else _NOT_EXECUTABLE, reason=failure, started=False)
    if code > 128:
        number = code - 128
        with contextlib.suppress(ValueError):
            name = signal.Signals(number).name
            reason = f"killed by signal {number} ({name})"
            if number == signal.SIGKILL:
                reason += ": the kernel ran out of memory" if out_of_memory else ": out of memory?"
            return Exit(code=code, reason=reason)
    return Exit(code=code)


def _runtime_error(log_file: Path) -> str:
    """Return the last error that the runtime itself reported, "" if none."""
    try:
        lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    for line in reversed(lines):
        if not line.startswith("{"):
            return line.strip()
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if entry.get("level") == "error":
                return str(entry.get("msg", "")).strip()
    return ""


def _kill_count() -> int:
    """How many processes the kernel has killed for memory since it started."""
    try:
        with open("/proc/vmstat", "rb") as file:
            for line in file:
                if line.startswith(b"oom_kill "):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0
