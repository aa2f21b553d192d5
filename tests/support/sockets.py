# SPDX-License-Identifier: Apache-2.0
"""A server that answers with raw bytes, and one that takes no connection: for what no well-behaved HTTP server does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Over(threading.Event):
    """Set when a server is to end. An answer sets ``reached`` when its client is where a test wants to have it."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()


class Address(str):
    """``host:port`` of a server, with the event that its answers set."""

    __slots__ = ("reached",)
    reached: threading.Event


@contextmanager
def raw_server(answer: Callable[[socket.socket, bytes, Over], None]) -> Iterator[Address]:
    """Serve on loopback and give the address.

    ``answer(connection, head, over)`` is called for each request with its head; ``over`` is set at the end of the context.
    """
    over = Over()
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(0.2)
            while not over.is_set() and (head := _head(connection, over)):
                answer(connection, head, over)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
            threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        address = Address(f"127.0.0.1:{listener.getsockname()[1]}")
        address.reached = over.reached
        yield address
    finally:
        over.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for thread in threads:
            thread.join(5)


def _head(connection: socket.socket, over: threading.Event) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data and not over.is_set():
        try:
            piece = connection.recv(4096)
        except TimeoutError:
            continue
        if not piece:
            return b""
        data += piece
    return data if b"\r\n\r\n" in data else b""


@contextmanager
def deaf_address() -> Iterator[str]:
    """Give an address whose connections are neither taken nor refused: the queue of who waits there is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(4):
            caller = socket.socket()
            caller.setblocking(False)
            with suppress(BlockingIOError):
                caller.connect(listener.getsockname())
            waiting.append(caller)
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for caller in waiting:
                caller.close()
