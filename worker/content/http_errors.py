# SPDX-License-Identifier: Apache-2.0
"""Errors of the distribution API: what a registry's refusal or silence means, and what to do about it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from worker.base import SourceError

if TYPE_CHECKING:
    import urllib3

_MAX_ERROR_BODY = 1 << 16


class HttpError(SourceError):
    """A registry answered with an error. ``code`` is the distribution API's, "" if it sent none."""

    def __init__(self, message: str, *, status: int, code: str = "", help: str = "") -> None:  # noqa: A002
        super().__init__(message, help=help)
        self.status = status
        self.code = code


class UnreachableError(SourceError):
    """No answer from a host: no such name, refused, timed out, not TLS."""


def unreachable(host: str, url: str, error: Exception) -> UnreachableError:
    """Return what to tell of a request to the registry ``host`` that got no answer."""
    import urllib3.exceptions

    where = urlsplit(url).netloc.rpartition("@")[2]
    reason = str(getattr(error, "reason", None) or error)
    if isinstance(error, urllib3.exceptions.SSLError):
        plain = "WRONG_VERSION_NUMBER" in reason or "UNKNOWN_PROTOCOL" in reason
        return UnreachableError(
            f"no secure connection to {where}: {reason}",
            help=f'it seems to speak plain HTTP: set http = true under [registry."{host}"]'
            if plain
            else f'name its certificate authority as ca under [registry."{host}"] in the configuration file',
        )
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return UnreachableError(
            f"no host named {where}", help="check the name and the network; a mirror can be configured"
        )
    refused = isinstance(error, urllib3.exceptions.NewConnectionError)
    if isinstance(error, urllib3.exceptions.TimeoutError) and not refused:
        return UnreachableError(f"{where} does not answer", help="check the network and try again")
    reason = broken(error).rpartition(": ")[2] or type(error).__name__
    return UnreachableError(
        f"cannot reach {where}: {reason}", help="check the address, the port and the network"
    )


def broken(error: Exception) -> str:
    """Say why a connection failed, without the library's wrapping."""
    import urllib3.exceptions

    match error:
        case urllib3.exceptions.ProtocolError(args=[_, Exception() as inner]):
            return broken(inner)
        case urllib3.exceptions.IncompleteRead(partial=int() as seen, expected=int() as left):
            return f"it ended after {seen} of {seen + left} bytes"
        case urllib3.exceptions.TimeoutError():
            return "it stood still for too long"
        case _:
            return str(getattr(error, "reason", None) or error)


def refused(host: str, method: str, url: str, response: urllib3.BaseHTTPResponse) -> HttpError:
    """Return what to tell of an answer of the registry ``host`` that nobody expected; reads its body."""
    import json

    code, said = "", ""
    if response.status == 400 and url.startswith("http:") and _speaks_tls(url):
        return HttpError(
            f"{host} speaks TLS, not plain HTTP",
            status=400,
            help=f'name the certificate authority of its certificate as ca under [registry."{host}"]',
        )
    try:
        first = json.loads(response.read(_MAX_ERROR_BODY) or b"{}")["errors"][0]
        code, said = str(first.get("code", "")), str(first.get("message", ""))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        pass  # not the API's error format; the status says enough
    status = response.status
    told = f": {said}" if said else ""
    match status:
        case 401 | 403:
            message = f"{host} denies access (HTTP {status}{told})"
            hint = f"log in with: docker login {host}; and check the repository's name"
        case 429:
            message = f"{host} limits the rate of requests (HTTP 429{told})"
            hint = f"wait, or log in with: docker login {host}; or configure a mirror"
        case 404:
            message = f"{host} does not have it (HTTP 404{told})"
            hint = "check the name"
        case _:
            message = f"{host} answered HTTP {status}{told}"
            hint = f"the request was {method} {urlsplit(url).path}"
    return HttpError(message, status=status, code=code, help=hint)


def _speaks_tls(url: str) -> bool:
    import ssl

    parts = urlsplit(url)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((parts.hostname or "", parts.port or 80), timeout=2.0) as connection,
            context.wrap_socket(connection, server_hostname=parts.hostname),
        ):
            return True
    except OSError:
        return False
