# SPDX-License-Identifier: Apache-2.0
"""An HTTP proxy on loopback that knows where names lead: for plain requests and for tunnels."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import field
from urllib.parse import urlsplit

from support.sockets import raw_server

from llbkit.records import dataclass


@dataclass
class Proxy:
    """``seen`` lists the first lines of requests; ``authorizations`` what clients said who they are."""

    address: str = ""
    seen: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)


@contextmanager
def proxy(names: Mapping[str, str], *, refuse: int = 0) -> Iterator[Proxy]:
    """Run a proxy; ``names`` maps ``host:port`` to where it is. It answers all with status ``refuse`` if that is set."""
    state = Proxy()

    def answer(connection: socket.socket, head: bytes, over: threading.Event) -> None:
        first = head.split(b"\r\n", 1)[0].decode()
        state.seen.append(first)
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"proxy-authorization:"):
                state.authorizations.append(line.partition(b":")[2].strip().decode())
        if refuse:
            connection.sendall(
                f"HTTP/1.1 {refuse} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
            )
            return
        method, target, _ = first.split(" ")
        where = target if method == "CONNECT" else urlsplit(target).netloc
        if ":" not in where:
            where += ":80"
        host, _, port = names[where].rpartition(":")
        with socket.create_connection((host, int(port))) as upstream:
            if method == "CONNECT":
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                parts = urlsplit(target)
                path = parts.path + (f"?{parts.query}" if parts.query else "")
                rest = head.split(b"\r\n", 1)[1]
                upstream.sendall(f"{method} {path} HTTP/1.1\r\nConnection: close\r\n".encode() + rest)
            back = threading.Thread(target=_pump, args=(upstream, connection, over))
            back.start()
            _pump(connection, upstream, over)
            back.join()

    with raw_server(answer) as state.address:
        yield state


def _pump(source: socket.socket, target: socket.socket, over: threading.Event) -> None:
    source.settimeout(0.2)
    with suppress(OSError):
        while not over.is_set():
            try:
                data = source.recv(1 << 16)
            except TimeoutError:
                continue
            if not data:
                break
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
