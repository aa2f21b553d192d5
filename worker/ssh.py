# SPDX-License-Identifier: Apache-2.0
"""Forwarding of an SSH agent into a container: a socket with the owner and mode that the step asked for.

The agent's own socket belongs to the user who builds and may sit anywhere; a step sees a socket of ours, and every
connection to it is joined to a connection to the agent. No key ever passes, only the agent protocol.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 1 << 16
_BACKLOG = 16


@contextlib.contextmanager
def forwarded(agent: Path, directory: Path, name: str, *, uid: int, gid: int, mode: int) -> Iterator[Path]:
    """Serve a socket ``directory/name`` that reaches ``agent`` for as long as the context lasts."""
    path = directory / name
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _bind(listener, directory, name)
        os.chown(path, uid, gid)
        path.chmod(mode)
        listener.listen(_BACKLOG)
        stop, stopped = socket.socketpair()
        with stop, stopped:
            server = threading.Thread(
                target=_serve, args=(listener, agent, stopped), name="llbkit-ssh", daemon=True
            )
            server.start()
            try:
                yield path
            finally:
                stop.send(b"x")
                server.join()
    finally:
        listener.close()
        path.unlink(missing_ok=True)


def _bind(listener: socket.socket, directory: Path, name: str) -> None:
    """Bind by way of an open directory: socket addresses hold 107 bytes only, paths may be longer."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/thread-self/fd/{fd}/{name}")
    finally:
        os.close(fd)


def _connect(agent: Path) -> socket.socket:
    upstream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    fd = os.open(agent.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        upstream.connect(f"/proc/thread-self/fd/{fd}/{agent.name}")
    except OSError:
        upstream.close()
        raise
    finally:
        os.close(fd)
    return upstream


def _serve(listener: socket.socket, agent: Path, stopped: socket.socket) -> None:
    """Accept and relay, all on one thread, until ``stopped`` becomes readable."""
    with contextlib.ExitStack() as sockets, selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ, None)
        selector.register(stopped, selectors.EVENT_READ, None)
        while True:
            for key, _ in selector.select():
                if key.fileobj is stopped:
                    return
                if key.fileobj is listener:
                    _accept(listener, agent, selector, sockets)
                elif isinstance(key.fileobj, socket.socket) and key.fileobj.fileno() >= 0:
                    _relay(key.fileobj, key.data, selector)


def _accept(
    listener: socket.socket, agent: Path, selector: selectors.BaseSelector, sockets: contextlib.ExitStack
) -> None:
    client, _ = listener.accept()
    try:
        upstream = _connect(agent)
    except OSError:
        client.close()
        return
    for here, there in ((client, upstream), (upstream, client)):
        sockets.enter_context(here)
        selector.register(here, selectors.EVENT_READ, there)


def _relay(source: socket.socket, sink: socket.socket, selector: selectors.BaseSelector) -> None:
    """Pass on one piece; at either end's end, close both."""
    try:
        data = source.recv(_CHUNK)
        if data:
            sink.sendall(data)
            return
    except OSError:
        pass
    for end in (source, sink):
        selector.unregister(end)
        end.close()
