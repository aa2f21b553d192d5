# SPDX-License-Identifier: Apache-2.0
"""Errors of HTTP and of the distribution API: the meaning of failures and timeouts, and the next step."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from llbkit.worker.base import SourceError
from llbkit.worker.registry.urls import shown_host

if TYPE_CHECKING:
    from llbkit.worker.registry.response import Response
    from llbkit.worker.registry.transport import Endpoint

_MAX_ERROR_BODY = 1 << 16
_MAX_SAID = 300
_SPEAKS_TLS = re.compile(
    rb"HTTP request to an HTTPS server|speaking plain HTTP|plain HTTP request was sent to HTTPS"
)
"""What servers of Go, Apache and nginx answer to plain HTTP."""
_FAILURE = re.compile(r"\[Errno -?\d+\] ")


class HttpError(SourceError):
    """A server answered with an error. ``code`` is the distribution API's, "" if it sent none."""

    def __init__(self, message: str, *, status: int, code: str = "", help: str = "") -> None:  # noqa: A002
        super().__init__(message, help=help)
        self.status = status
        self.code = code


class UnreachableError(SourceError):
    """No answer from a host: no such name, refused, timed out, not TLS. ``timed_out`` tells of the third."""

    def __init__(self, message: str, *, timed_out: bool = False, help: str = "") -> None:  # noqa: A002
        super().__init__(message, help=help)
        self.timed_out = timed_out


def is_unreachable(error: BaseException) -> bool:
    """Return whether an error came of a host that did not answer, or could not for now: what it has is not known."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UnreachableError):
            return True
        if isinstance(cause, HttpError) and (cause.status == 429 or cause.status >= 500):
            return True
        cause = cause.__cause__
    return False


def unreachable(
    endpoint: Endpoint, url: str, error: Exception, *, waited: float = 0.0, proxy: str = ""
) -> UnreachableError:
    """Return what to tell of a request to ``url`` that got no answer within ``waited`` seconds, or (0) at all."""
    import urllib3.exceptions

    where = shown_host(url)
    if proxy:
        where += f" through the proxy {shown_host(proxy)}"
        endpoint_or_proxy = "check the proxy variables HTTP_PROXY, HTTPS_PROXY and NO_PROXY"
    else:
        endpoint_or_proxy = "check the address, the port and the network"
    if waited or isinstance(error, TimeoutError):
        return UnreachableError(
            f"{where} did not respond within {waited:.0f} seconds",
            timed_out=True,
            help="the server may be overloaded or the network down; try again later",
        )
    if isinstance(error, urllib3.exceptions.ProxyError) and error.original_error is not None:
        error = error.original_error
    match error:
        case urllib3.exceptions.SSLError():
            return _insecure(endpoint, where, str(error.args[0] if error.args else error))
        case urllib3.exceptions.NameResolutionError():
            name = (shown_host(proxy) if proxy else where).rpartition(":")[0] or where
            return UnreachableError(
                f"cannot resolve the host name {name}: {broken(error)}",
                help="check the spelling and the DNS configuration",
            )
        case urllib3.exceptions.NewConnectionError():
            return UnreachableError(f"cannot connect to {where}: {broken(error)}", help=endpoint_or_proxy)
        case urllib3.exceptions.ConnectTimeoutError():
            return UnreachableError(
                f"cannot connect to {where}: timed out", timed_out=True, help=endpoint_or_proxy
            )
        case urllib3.exceptions.TimeoutError():
            return UnreachableError(
                f"{where} did not respond: timed out",
                timed_out=True,
                help="the server may be overloaded or the network down; try again later",
            )
        case _:
            return UnreachableError(f"no response from {where}: {broken(error)}", help=endpoint_or_proxy)


def _insecure(endpoint: Endpoint, where: str, reason: str) -> UnreachableError:
    plain = "WRONG_VERSION_NUMBER" in reason or "UNKNOWN_PROTOCOL" in reason
    said = re.sub(r"^\[SSL[^\]]*\]\s*|\s*\(_ssl\.c:\d+\)", "", reason)
    if plain:
        said = "it speaks plain HTTP"
    if not endpoint.registry:
        hint = "use an http:// URL" if plain else "set SSL_CERT_FILE to a file with its certificate authority"
    elif plain:
        hint = f'set http = true under [registry."{endpoint.host}"] in the configuration file'
    else:
        hint = f'set ca to its certificate authority under [registry."{endpoint.host}"] in the configuration file'
    return UnreachableError(f"no TLS connection to {where}: {said}", help=hint)


def broken(error: BaseException) -> str:
    """Say why a connection failed, in the words of the system and without the library's wrapping."""
    import http.client

    import urllib3.exceptions

    match error:
        case urllib3.exceptions.NewConnectionError(__cause__=OSError() as inner):
            return broken(inner)
        case urllib3.exceptions.ProtocolError(args=[_, Exception() as inner]):
            return broken(inner)
        case urllib3.exceptions.IncompleteRead(partial=int() as seen, expected=int() as left):
            return f"connection closed after {seen} of {seen + left} bytes"
        case http.client.IncompleteRead() | http.client.RemoteDisconnected() | ConnectionResetError():
            return "the server closed the connection"
        case urllib3.exceptions.TimeoutError() | TimeoutError():
            return "timed out"
        case http.client.BadStatusLine() | http.client.LineTooLong() | http.client.UnknownProtocol():
            return "the server does not speak HTTP"
        case OSError(strerror=str() as said):
            return said[:1].lower() + said[1:] if said[1:2].islower() else said
        case _:
            said = _FAILURE.sub("", str(getattr(error, "reason", None) or error))
            return _clean(said) or type(error).__name__


def refused(endpoint: Endpoint, method: str, response: Response) -> HttpError:
    """Return the error for an unexpected response; reads its body."""
    status, where = response.status, endpoint.host
    if not response.own:
        where = f"{shown_host(response.url)} (redirected from {endpoint.host})"
    body = _error_body(response)
    code, said = _error_detail(body)
    if status == 400 and response.url.startswith("http:"):
        # Servers of TLS answer so, in words of their own, and to HEAD without any.
        tls = (
            f'set ca to its certificate authority under [registry."{endpoint.host}"]'
            if endpoint.registry
            else "use an https:// URL"
        )
        if _SPEAKS_TLS.search(body):
            return HttpError(f"{where} speaks TLS, not plain HTTP", status=400, help=tls)
        if not body:
            return HttpError(f"{where} answered HTTP 400", status=400, help=f"if it speaks TLS, {tls}")
    told = f": {said}" if said else ""
    log_in = f"log in: docker login {endpoint.host}" if endpoint.registry else "give credentials"
    match status:
        case 401:
            message = f"{where.rstrip(chr(44))}: authentication required (HTTP 401{told})"
            hint = f"{log_in}; check the spelling"
        case 403:
            message = f"{where} denied access (HTTP 403{told})"
            hint = f"{log_in}; check the spelling"
        case 404:
            message = f"{where}: not found (HTTP 404{told})"
            hint = "check the spelling"
        case 407:
            message = f"the proxy for {where} requires authentication (HTTP 407)"
            hint = "add credentials to the proxy URL: http://USER:PASSWORD@HOST:PORT"
        case 429:
            message = f"{where}: too many requests (HTTP 429{told})"
            hint = f"wait; {log_in}" + ("; or configure a mirror" if endpoint.registry else "")
        case _ if status >= 500:
            message = f"{where} failed (HTTP {status}{told})"
            hint = "server error; try again later"
        case _:
            message = f"{where} answered HTTP {status}{told}"
            hint = f"the request was {method} {urlsplit(response.url).path[:200]}"
    return HttpError(message, status=status, code=code, help=hint)


def _error_body(response: Response) -> bytes:
    try:
        return response.read(_MAX_ERROR_BODY)
    except SourceError:
        return b""  # it broke off: the status suffices


def _error_detail(body: bytes) -> tuple[str, str]:
    """Return code and message of the distribution API's error format, "" where the body is none."""
    import json

    try:
        first = json.loads(body or b"{}")["errors"][0]
        return _clean(str(first.get("code") or "")), _clean(str(first.get("message") or ""))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return "", ""  # another format, or no body: the status suffices


def _clean(text: str) -> str:
    """Return text from a server as it can stand in a message: one line of bounded length, printable."""
    line = "".join(letter if letter.isprintable() else " " for letter in text[: 2 * _MAX_SAID])
    line = " ".join(line.split())
    return line if len(line) <= _MAX_SAID else line[:_MAX_SAID] + "..."
