# SPDX-License-Identifier: Apache-2.0
"""Proxies for our own requests, from the environment, by the rules of Go's clients (golang.org/x/net/http/httpproxy).

``HTTP_PROXY`` and ``HTTPS_PROXY`` (or in lower case) name the proxy for requests of their scheme; ``NO_PROXY`` lists
what is asked directly: ``*``, addresses, ranges in CIDR notation, names (with all names below), names with a leading dot
(those below alone), each with a port if it is meant for one port only. Loopback addresses are always asked directly.
"""

from __future__ import annotations

import ipaddress
import os

from llbkit.worker.base import SourceError
from llbkit.worker.registry.urls import origin

_SCHEMES = ("http", "https")


def proxy_for(url: str) -> str:
    """Return the URL of the proxy for a request, "" for none.

    Raises:
        SourceError: the environment names what is not an HTTP proxy.
        ValueError: ``url`` is not a URL.
    """
    scheme, host, port = origin(url)
    name, value = _variable(f"{scheme.upper()}_PROXY")
    if not value or _is_direct(host.strip("[]").rstrip(".").lower(), port, _variable("NO_PROXY")[1]):
        return ""
    proxy = value if "://" in value else f"http://{value}"
    try:
        if proxy.partition("://")[0].lower() not in _SCHEMES:
            raise ValueError("only http and https proxies are supported")
        origin(proxy)
    except ValueError as error:
        shown = proxy.partition("://")[2].rpartition("@")[2][:100]
        raise SourceError(
            f"{name} is not a supported proxy URL ({shown}): only http and https are supported",
            help=f"set {name} to http://HOST:PORT, or unset it",
        ) from error
    return proxy


def proxy_variables() -> dict[str, str]:
    """Return the proxies for a program that makes requests itself, such as git.

    In lower case, which curl asks for, and for plain HTTP alone: ``HTTP_PROXY`` in upper case means nothing to it.
    """
    names = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
    return {name.lower(): value for name in names if (value := _variable(name)[1])}


def _variable(name: str) -> tuple[str, str]:
    for each in (name, name.lower()):
        if value := os.environ.get(each, "").strip():
            return each, value
    return name, ""


def _is_direct(host: str, port: int, exceptions: str) -> bool:
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_matches(item.strip().lower(), host, address, port) for item in exceptions.split(","))


def _matches(
    item: str, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int
) -> bool:
    if item == "*":
        return True
    if "/" in item:
        try:
            return address is not None and address in ipaddress.ip_network(item, strict=False)
        except ValueError:
            return False
    if _address(item.strip("[]")) is None:
        name, mark, digits = item.rpartition(":")
        if mark and digits.isdigit():
            if digits != str(port):
                return False
            item = name
    item = item.strip("[]").removeprefix("*")
    if not item:
        return False
    if address is not None:
        return _address(item) == address
    if item.startswith("."):
        return host.endswith(item)
    return host == item or host.endswith(f".{item}")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
