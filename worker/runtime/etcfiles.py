# SPDX-License-Identifier: Apache-2.0
"""Contents of the generated /etc/hosts and /etc/resolv.conf of a container."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path

from llbkit.llb.ir.ops import HostIP

HOST_RESOLV_CONF = Path("/etc/resolv.conf")


def hosts_file(hostname: str, extra: Sequence[HostIP]) -> str:
    """Return an /etc/hosts that knows the loopback addresses, ``hostname`` and the ``extra`` lines."""
    lines = [f"127.0.0.1\tlocalhost {hostname}", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{entry.ip}\t{entry.host}" for entry in extra]
    return "\n".join(lines) + "\n"


def resolv_conf(*, host_network: bool, source: Path = HOST_RESOLV_CONF) -> str:
    """Return the host's resolver settings as a container can use them.

    On the host's network they are taken as they are: a resolver on a loopback address answers there too. In a network
    namespace of its own a loopback address is somebody else, so these name servers are left out.
    """
    try:
        text = source.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    if host_network:
        return text
    return "".join(line for line in text.splitlines(keepends=True) if not _names_loopback(line))


def _names_loopback(line: str) -> bool:
    words = line.split()
    if len(words) < 2 or words[0] != "nameserver":
        return False
    try:
        return ipaddress.ip_address(words[1].partition("%")[0]).is_loopback
    except ValueError:
        return False
