# SPDX-License-Identifier: Apache-2.0
"""A single HTTP exchange with guaranteed termination: urllib3 sockets that cancellation or a deadline can shut down.

A blocking call on a socket returns as soon as another thread shuts the socket down. So each exchange keeps a duplicate
of every descriptor that it uses, from before the connection is made (connecting, a TLS handshake and a proxy's tunnel
end as well) until the body is read; the thread that cancels a build, or the watchdog when the time is up, shuts them
down. Name resolution alone cannot be interrupted: it runs on a thread of its own, which is left behind.
"""

from __future__ import annotations

import contextvars
import http.client
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import urllib3
from urllib3 import connection, connectionpool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import allowed_gai_family

if TYPE_CHECKING:
    from llbkit.worker.base import CancelToken

CONNECT_SECONDS = 15.0
IDLE_SECONDS = 60.0
_INTERIM_RESPONSES = 10

_current: contextvars.ContextVar[Exchange | None] = contextvars.ContextVar("exchange", default=None)


class Exchange:
    """A request and its response, ended by ``cancel`` or when ``seconds`` are over, whichever comes first.

    It begins when it is made; whoever makes it calls `close` in the end. `making_request` is for the request alone.
    """

    def __init__(self, cancel: CancelToken, seconds: float) -> None:
        self._cancel = cancel
        self._lock = threading.Lock()
        self._handles: list[socket.socket] = []
        self._stack = ExitStack()
        self._stopped = False
        self.expired = False
        self.woken = threading.Event()
        self.deadline = time.monotonic() + seconds
        _watchdog.add(self)
        self._stack.callback(_watchdog.remove, self)
        self._stack.enter_context(cancel.on_cancel(self._stop))

    def close(self) -> None:
        """Forget the deadline and the sockets; idempotent."""
        self._stack.close()
        with self._lock:
            for handle in self._handles:
                handle.close()
            self._handles.clear()

    def allow(self, seconds: float) -> None:
        """Set the deadline ``seconds`` from now."""
        self.deadline = time.monotonic() + seconds
        _watchdog.hurry(self)

    def extended_by(self, pieces: Iterable[bytes], seconds: float) -> Iterator[bytes]:
        """Give the pieces of a request's body; ``seconds`` are left for each, and for the answer to the last."""
        for piece in pieces:
            self.allow(seconds)
            yield piece

    def check(self) -> None:
        """Raise `llbkit.worker.host.pools.Cancelled` if cancelled, and TimeoutError if the time is up."""
        self._cancel.check()
        if self.expired:
            raise TimeoutError

    def adopt(self, sock: socket.socket) -> None:
        """Have a socket shut down when the exchange is to end."""
        handle = socket.socket(sock.family, sock.type, sock.proto, fileno=os.dup(sock.fileno()))
        with self._lock:
            self._handles.append(handle)
            if self._stopped:
                _shut_down(handle)

    def expire(self) -> None:
        """End the exchange because its time is up."""
        self.expired = True
        self._stop()

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for handle in self._handles:
                _shut_down(handle)
        self.woken.set()

    @contextmanager
    def making_request(self) -> Iterator[None]:
        """While the context lasts, connections that this thread opens or reuses belong to the exchange."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


class _Watchdog:
    """A thread that ends exchanges whose time is up. It sleeps until the next deadline that it knows of."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: set[Exchange] = set()
        self._thread: threading.Thread | None = None
        self._wakes_at = float("inf")

    def add(self, exchange: Exchange) -> None:
        with self._changed:
            self._watched.add(exchange)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="llbkit-net-watchdog", daemon=True)
                self._thread.start()
        self.hurry(exchange)

    def hurry(self, exchange: Exchange) -> None:
        with self._changed:  # without the lock it could just have gone to sleep by an older deadline
            if exchange.deadline < self._wakes_at:
                self._changed.notify()

    def remove(self, exchange: Exchange) -> None:
        with self._changed:
            self._watched.discard(exchange)

    def expire_late(self) -> None:
        """End the exchanges whose time is up."""
        with self._changed:
            now = time.monotonic()
            late = [exchange for exchange in self._watched if exchange.deadline <= now]
            self._watched.difference_update(late)
        for exchange in late:
            exchange.expire()

    def _run(self) -> None:
        while True:
            self.expire_late()
            with self._changed:
                self._wakes_at = min((each.deadline for each in self._watched), default=float("inf"))
                left = self._wakes_at - time.monotonic() if self._wakes_at < float("inf") else None
                if left is None or left > 0:
                    self._changed.wait(left)


_watchdog = _Watchdog()


class _Response(http.client.HTTPResponse):
    """Skips interim responses (RFC 9110, section 15.2) of any kind, but not without end."""

    def _read_status(self) -> tuple[str, int, str]:
        self._interim = getattr(self, "_interim", -1) + 1
        version, status, reason = super()._read_status()  # type: ignore[misc]
        if 100 <= status < 200 and status != http.client.SWITCHING_PROTOCOLS:
            if self._interim >= _INTERIM_RESPONSES:
                raise http.client.HTTPException(f"more than {_INTERIM_RESPONSES} interim responses")
            status = http.client.CONTINUE
        return version, status, reason


class _Connection(connection.HTTPConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        exchange = _current.get()
        if exchange is None:
            return super()._new_conn()
        try:
            return _connect(exchange, self._dns_host, self.port, self.socket_options)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(
                self, f"connection timed out after {CONNECT_SECONDS:.0f} seconds"
            ) from error
        except OSError as error:
            raise NewConnectionError(self, str(error)) from error

    def request(self, *args: Any, **kwargs: Any) -> None:
        exchange = _current.get()
        if exchange is not None and self.sock is not None:
            exchange.adopt(self.sock)
        super().request(*args, **kwargs)

    def send(self, data: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(IDLE_SECONDS)
        super().send(data)


class _TlsConnection(_Connection, connection.HTTPSConnection):
    pass


class _Pool(connectionpool.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(connectionpool.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def timeouts(answer: float) -> urllib3.Timeout:
    """Return the longest times without a byte, where the answer to a request may take ``answer`` seconds."""
    return urllib3.Timeout(connect=CONNECT_SECONDS, read=max(IDLE_SECONDS, answer))


def manager(tls: bool, insecure: bool, ca: str, proxy: str) -> urllib3.PoolManager:
    """Make a pool of connections that take part in the exchange of the thread that uses them.

    ``tls`` tells whether it is for TLS; ``ca`` is a file of certificate authorities to trust besides the system's;
    ``proxy`` is the URL of a proxy, "" for none.

    Raises:
        OSError: the file ``ca`` cannot be read or holds no certificates.
        urllib3.exceptions.HTTPError: ``proxy`` is not a proxy URL.
    """
    settings: dict[str, Any] = {"num_pools": 16, "maxsize": 8}
    if tls:
        context = ssl.create_default_context()
        if ca:
            context.load_verify_locations(ca)
        if insecure:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        settings |= {"cert_reqs": "CERT_NONE" if insecure else "CERT_REQUIRED", "ssl_context": context}
    if proxy:
        url = urllib3.util.parse_url(proxy)
        headers = urllib3.make_headers(proxy_basic_auth=unquote(url.auth)) if url.auth else None
        pools: urllib3.PoolManager = urllib3.ProxyManager(
            url._replace(auth=None).url, proxy_headers=headers, **settings
        )
    else:
        pools = urllib3.PoolManager(**settings)
    pools.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
    return pools


def _connect(exchange: Exchange, host: str, port: int, options: Any) -> socket.socket:
    failure: OSError = socket.gaierror(socket.EAI_NONAME, "no address")
    for family, kind, protocol, _, address in _addresses(exchange, host.strip("[]"), port):
        exchange.check()
        sock = socket.socket(family, kind, protocol)
        try:
            for option in options or ():
                sock.setsockopt(*option)
            sock.settimeout(CONNECT_SECONDS)
            exchange.adopt(sock)
            sock.connect(address)
            exchange.check()  # a socket that was shut down before it began to connect seems to be connected
        except OSError as error:
            failure = error
            sock.close()
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


def _addresses(exchange: Exchange, host: str, port: int) -> list[Any]:
    """Resolve a name on a thread of its own, which is left behind if the exchange ends first."""
    if numeric := _numeric(host, port):
        return numeric
    found: list[Any] = []

    def resolve() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, allowed_gai_family(), socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)
        exchange.woken.set()

    threading.Thread(target=resolve, name="llbkit-resolve", daemon=True).start()
    exchange.woken.wait(CONNECT_SECONDS)
    exchange.check()
    if not found:
        raise socket.gaierror(socket.EAI_AGAIN, f"no response within {CONNECT_SECONDS:.0f} seconds")
    exchange.woken.clear()
    if isinstance(found[0], UnicodeError):
        raise socket.gaierror(socket.EAI_NONAME, "not a valid host name")
    if isinstance(found[0], OSError):
        raise found[0]
    return list(found[0])


def _numeric(host: str, port: int) -> list[Any]:
    """Return the address that ``host`` is in itself, nothing if it is a name."""
    try:
        return socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return []


def _shut_down(handle: socket.socket) -> None:
    with suppress(OSError):  # not connected, or the other side was faster
        handle.shutdown(socket.SHUT_RDWR)
