# SPDX-License-Identifier: Apache-2.0
"""``--ssh``: sockets of running agents, or a private agent with the given keys for the duration of the build."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from llbkit.worker.base import EnvironmentLackError, WorkerError
from llbkit.worker.state.scratch import scratch

_LONGEST_PARENT = 80
"""Bytes: the path of a socket has 107 at most."""


@contextmanager
def serve(wanted: Mapping[str, Sequence[str]], parent: Path | None = None) -> Iterator[Mapping[str, Path]]:
    """Yield a socket for each id; ``wanted`` gives a socket, or private key files. Sockets are made below ``parent``.

    Raises:
        WorkerError: a path is neither, or a key cannot be added.
        EnvironmentLackError: keys are given and ssh-agent is not installed.
    """
    with ExitStack() as stack:
        sockets = {}
        for name, paths in wanted.items():
            if len(paths) == 1 and _is_socket(name, paths[0]):
                sockets[name] = Path(paths[0])
            else:
                sockets[name] = stack.enter_context(_agent(name, paths, parent))
        yield sockets


def _is_socket(name: str, path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError as error:
        raise WorkerError(
            f"--ssh {name}: {path}: {error.strerror}",
            help="start an agent (eval $(ssh-agent)), or give its socket or a key file",
        ) from error


@contextmanager
def _agent(name: str, keys: Sequence[str], parent: Path | None) -> Iterator[Path]:
    program, add = shutil.which("ssh-agent"), shutil.which("ssh-add")
    if program is None or add is None:
        raise EnvironmentLackError("ssh-agent is not installed", help="apt-get install -y openssh-client")
    if parent is not None and len(os.fsencode(parent)) > _LONGEST_PARENT:
        parent = None
    with scratch(parent) as folder:
        socket = folder / "agent"
        argv = [program, "-D", "-a", str(socket)]
        if (bound := shutil.which("setpriv")) is not None:  # an agent that outlives us would keep the keys
            argv = [bound, "--pdeathsig", "TERM", *argv]
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait_for(socket, process)
            for key in keys:
                done = subprocess.run(
                    [add, "-q", key],
                    env={**os.environ, "SSH_AUTH_SOCK": str(socket)},
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    check=False,
                )
                if done.returncode != 0:
                    reason = done.stderr.decode(errors="replace").strip()
                    raise WorkerError(
                        f"--ssh {name}: the key {key} cannot be used: {reason}",
                        help="keys with a passphrase must be in a running agent: ssh-add KEY, then --ssh default",
                    )
            yield socket
        finally:
            process.terminate()
            process.wait()


def _wait_for(socket: Path, process: subprocess.Popen[bytes]) -> None:
    import time

    for _ in range(500):
        if socket.exists():
            return
        if process.poll() is not None:
            break
        time.sleep(0.01)
    raise EnvironmentLackError(
        "ssh-agent does not start", help="run it by hand and pass its socket with --ssh ID=SOCKET"
    )
