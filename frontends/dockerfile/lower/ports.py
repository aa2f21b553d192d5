# SPDX-License-Identifier: Apache-2.0
"""Port specifications of EXPOSE: ``[[ip:]host:]container[-end][/protocol]``."""

from __future__ import annotations

import ipaddress

from frontends.dockerfile import errors
from frontends.dockerfile.gotext import parse_uint

_PROTOCOLS = ("tcp", "udp", "sctp")


def container_ports(text: str) -> list[str]:
    """Return the container ports of a specification, each with its protocol.

    Raises:
        DockerfileError: it is malformed.
    """
    *before, container = text.split(":")
    host = before.pop() if before else ""
    address = ":".join(before)
    container, slash, protocol = container.partition("/")
    protocol = (protocol if slash and protocol else "tcp").lower()
    if address:
        _check_address(address)
    if not container:
        raise errors.port(f"no port specified: {text}<empty>")
    ports = _range(container)
    if ports is None:
        raise errors.port(f"invalid containerPort: {container}")
    if host:
        _check_host(host, container, ports)
    if protocol not in _PROTOCOLS:
        raise errors.port(f"invalid proto: {protocol}")
    return [f"{port}/{protocol}" for port in ports]


def _range(text: str) -> range | None:
    first, dash, last = text.partition("-")
    start = parse_uint(first, 10, 16)
    end = parse_uint(last, 10, 16) if dash else start
    return range(start, end + 1) if start is not None and end is not None and start <= end else None


def _check_address(address: str) -> None:
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        raise errors.port(f"invalid IP address: {bare}") from None


def _check_host(host: str, container: str, ports: range) -> None:
    hosts = _range(host)
    if hosts is None:
        raise errors.port(f"invalid hostPort: {host}")
    if len(hosts) != len(ports) and len(ports) != 1:
        raise errors.port(f"invalid ranges specified for container and host Ports: {container} and {host}")
