# SPDX-License-Identifier: Apache-2.0
"""Forwarding of an SSH agent into a container: a socket with the requested owner and mode.

The agent's own socket belongs to the user who builds and may sit anywhere; a step sees a socket of ours, and every
connection to it is joined to a connection to the agent. No key ever passes, only the agent protocol. One thread serves
all connections and never waits for one of them; an end that stops writing may still read, as with the agent itself.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from llbkit.records import dataclass

if TYPE_CHECKING:
    from llbkit.worker.session.base import Agent

_CHUNK = 1 << 16
_BACKLOG = 128


@contextlib.contextmanager
def reachable(agent: Agent, directory: Path) -> Iterator[Path]:
    """Yield a socket of the agent for a process of ours: its own if it is on this machine, else one in ``directory``."""
    if agent.local_path is not None:
        yield agent.local_path
        return
    with forwarded(agent, directory, "agent", uid=os.geteuid(), gid=os.getegid(), mode=0o600) as path:
        yield path


@contextlib.contextmanager
def forwarded(agent: Agent, directory: Path, name: str, *, uid: int, gid: int, mode: int) -> Iterator[Path]:
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


@dataclass(slots=True, eq=False)
class _End:
    """One end of a connection: ``pending`` is to be written to it, and it is read from while it is ``speaking``."""

    socket: socket.socket
    other: _End = field(init=False)
    pending: bytes = b""
    speaking: bool = True

    def wanted(self) -> int:
        """Return the events to wait for. Nothing is read from here before the last piece has gone out there."""
        reading = selectors.EVENT_READ if self.speaking and not self.other.pending else 0
        return reading | (selectors.EVENT_WRITE if self.pending else 0)

    def move(self, events: int) -> None:
        """Read or write one piece. Raises OSError if the connection is broken."""
        if events & selectors.EVENT_WRITE:
            self.pending = self.pending[self.socket.send(self.pending) :]
        if events & selectors.EVENT_READ:
            self.other.pending = self.socket.recv(_CHUNK)
            if not self.other.pending:
                self.speaking = False
                self.other.socket.shutdown(socket.SHUT_WR)

    @property
    def done(self) -> bool:
        """Whether nothing will move in either way any more."""
        return not (self.speaking or self.other.speaking or self.pending or self.other.pending)


def _serve(listener: socket.socket, agent: Agent, stopped: socket.socket) -> None:
    """Accept and relay, all on one thread, until ``stopped`` becomes readable."""
    listener.setblocking(False)
    with contextlib.ExitStack() as sockets, selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(stopped, selectors.EVENT_READ)
        while True:
            for key, events in selector.select():
                if key.fileobj is stopped:
                    return
                if key.fileobj is listener:
                    _accept(listener, agent, selector, sockets)
                elif key.data.socket.fileno() >= 0:
                    _relay(key.data, events, selector)


def _accept(
    listener: socket.socket, agent: Agent, selector: selectors.BaseSelector, sockets: contextlib.ExitStack
) -> None:
    with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
        client, _ = listener.accept()
        client.setblocking(False)
        try:
            upstream = agent.connect()
        except OSError:
            client.close()
            return
        here, there = _End(client), _End(upstream)
        here.other, there.other = there, here
        for end in (here, there):
            sockets.enter_context(end.socket)
            _watch(end, selector)


def _relay(end: _End, events: int, selector: selectors.BaseSelector) -> None:
    """Pass on one piece; when both ways have ended, or one is broken, close both."""
    try:
        end.move(events)
        over = end.done
    except BlockingIOError:
        over = False
    except OSError:
        over = True
    for one in (end, end.other):
        if over:
            _unwatch(one, selector)
            one.socket.close()
        else:
            _watch(one, selector)


def _watch(end: _End, selector: selectors.BaseSelector) -> None:
    wanted = end.wanted()
    if not wanted:
        _unwatch(end, selector)
    elif end.socket in selector.get_map():
        selector.modify(end.socket, wanted, end)
    else:
        selector.register(end.socket, wanted, end)


def _unwatch(end: _End, selector: selectors.BaseSelector) -> None:
    if end.socket in selector.get_map():
        selector.unregister(end.socket)
