# SPDX-License-Identifier: Apache-2.0
"""Git addresses as BuildKit reads them: URLs, ``user@host:path``, and bare ``host/path``."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from llb.errors import StateError

_SCP = re.compile(r"^(?:(?P<user>[\w.+-]+)@)?(?P<host>[\w.-]+):(?P<path>(?!//).+)$")
_SCHEME = re.compile(r"^(?P<scheme>[a-z][a-z0-9+.-]*)://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class GitURL:
    """A repository: ``full`` is what git is given, ``location`` the host and path that identify it."""

    scheme: str
    full: str
    location: str
    fragment: str = ""

    @property
    def is_ssh(self) -> bool:
        """Whether an SSH agent is needed."""
        return self.scheme == "ssh"


def parse(text: str) -> GitURL:
    """Read an address; a ``#ref[:subdir]`` fragment is split off. Bare ``host/path`` is HTTPS.

    Raises:
        StateError: its host is malformed, such as an open ``[``.
    """
    address, _, fragment = text.partition("#")
    if not _SCHEME.match(address):
        match = _SCP.match(address)
        if match and "/" not in match["host"]:
            return GitURL("ssh", address, f"{match['host']}/{match['path'].lstrip('/')}", fragment)
        address = f"https://{address}"
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise StateError(f"invalid git address {address}: {error}") from None
    host = parts.netloc.rpartition("@")[2]
    return GitURL(parts.scheme.lower(), address, f"{host}{parts.path}", fragment)


def split_fragment(fragment: str) -> tuple[str, str]:
    """Return the ref and the cleaned subdirectory of ``ref:subdir``."""
    ref, _, subdir = fragment.partition(":")
    return ref, clean_subdir(subdir)


def clean_subdir(subdir: str) -> str:
    """Return a subdirectory relative to the repository's root; "" for the root itself."""
    return posixpath.normpath(posixpath.join("/", subdir)).lstrip("/")
