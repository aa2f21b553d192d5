# SPDX-License-Identifier: Apache-2.0
"""Port specifications: ``[[ip:]host:]container[-end][/protocol]``, and the messages of Go's packages."""

from __future__ import annotations

import ipaddress

from llbkit.frontends.kit.golang.quote import go_quote
from llbkit.frontends.kit.golang.text import parse_int
from llbkit.records import dataclass

_PROTOCOLS = ("tcp", "udp", "sctp")
_LAST_PORT = 65535


class PortError(ValueError):
    """A port specification is malformed; the message is that of Go's packages."""


@dataclass(frozen=True, slots=True)
class PortWord:
    """A port specification in its parts, as written; an absent part is empty, an absent protocol tcp."""

    text: str
    address: str
    host: str
    container: str
    protocol: str

    @classmethod
    def cut(cls, text: str) -> PortWord:
        """Cut a specification into its parts.

        Raises:
            PortError: it names no port, or an unknown protocol.
        """
        *before, container = text.split(":")
        host = before.pop() if before else ""
        container, _, protocol = container.partition("/")
        if not container:
            raise PortError(f"invalid port: {go_quote(text)}: no port specified")
        protocol = protocol or "tcp"
        if protocol.lower() not in _PROTOCOLS:
            raise PortError(f"invalid port: {go_quote(text)}: invalid proto: {protocol}")
        return cls(text, ":".join(before), host, container, protocol)

    def container_ports(self) -> list[str]:
        """Return the container ports, each with its protocol.

        Raises:
            PortError: a part is malformed.
        """
        _check_address(self.address)
        ports = _range(self.container)
        if ports is None:
            raise PortError(f"invalid containerPort: {self.container}")
        if self.host:
            _check_host(self.host, self.container, ports)
        return [f"{port}/{self.protocol.lower()}" for port in ports]


def _range(text: str) -> range | None:
    first, dash, last = text.partition("-")
    start = parse_int(first)
    end = parse_int(last) if dash else start
    if start is None or end is None or not 0 <= start <= end <= _LAST_PORT:
        return None
    return range(start, end + 1)


def _check_address(address: str) -> None:
    if address.startswith("["):
        cause = _bracket_error(f"{address}:")
        if cause:
            raise PortError(f"invalid IP address {address}: address {address}:: {cause}")
        address = address[1:-1]
    if address and not _is_address(address):
        raise PortError(f"invalid IP address: {address}")


def _bracket_error(text: str) -> str:
    """Return why Go's ``net.SplitHostPort`` refuses ``[host]:``; "" if it does not."""
    end = text.find("]")
    if end < 0:
        return "missing ']' in address"
    if end + 2 != len(text):
        return "too many colons in address" if text[end + 1] == ":" else "missing port in address"
    return "unexpected '[' in address" if "[" in text[1:] else ""


def _is_address(text: str) -> bool:
    try:
        return not getattr(ipaddress.ip_address(text), "scope_id", None)
    except ValueError:
        return False


def _check_host(host: str, container: str, ports: range) -> None:
    hosts = _range(host)
    if hosts is None:
        raise PortError(f"invalid hostPort: {host}")
    if len(hosts) != len(ports) and len(ports) != 1:
        raise PortError(f"invalid ranges specified for container and host Ports: {container} and {host}")
