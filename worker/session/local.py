# SPDX-License-Identifier: Apache-2.0
"""A session of this machine: everything is read where it is."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from llbkit.records import dataclass
from llbkit.worker.base import WorkerError

if TYPE_CHECKING:
    from llbkit.worker.session.base import LayoutFiles
    from llbkit.worker.session.directory import LocalDirectory

_CONNECT_SECONDS = 1.0


@dataclass(slots=True, kw_only=True)
class LocalSession:
    """A `llbkit.worker.session.base.Session` of this machine.

    ``locals`` maps names to directories; ``secrets`` maps ids to functions that return the value;
    ``ssh`` maps ids to agent socket paths; ``oci_stores`` maps store ids to OCI layout directories or archives;
    ``entitlements`` holds what was allowed.
    """

    id: str
    locals: Mapping[str, Path] = field(default_factory=dict)
    secrets: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)
    ssh: Mapping[str, Path] = field(default_factory=dict)
    oci_stores: Mapping[str, Path] = field(default_factory=dict)
    entitlements: frozenset[str] = frozenset()

    def offered(self, kind: Literal["directory", "store"]) -> Sequence[str]:
        """Return the names of what there is."""
        return sorted(self.locals if kind == "directory" else self.oci_stores)

    def directory(self, name: str) -> LocalDirectory | None:
        """Return a directory by its name."""
        path = self.locals.get(name)
        if path is None:
            return None
        from llbkit.worker.session.directory import LocalDirectory

        return LocalDirectory(path)

    def secret(self, name: str) -> bytes | None:
        """Return a secret's value."""
        read = self.secrets.get(name)
        if read is None:
            return None
        try:
            return read()
        except (OSError, KeyError) as error:
            raise WorkerError(
                f"the secret {name} cannot be read: {error}", help="check src= or env= of --secret"
            ) from error

    def agent(self, name: str) -> LocalAgent | None:
        """Return an SSH agent by its id."""
        path = self.ssh.get(name)
        return None if path is None else LocalAgent(path)

    def store(self, name: str) -> LayoutFiles | None:
        """Return an OCI layout by its name."""
        path = self.oci_stores.get(name)
        if path is None:
            return None
        from llbkit.worker.content.layout import open_layout

        return open_layout(path.absolute())


class LocalAgent:
    """A `llbkit.worker.session.base.Agent` with a socket on this machine."""

    def __init__(self, path: Path) -> None:
        self.local_path = path

    def connect(self) -> socket.socket:
        """Return a new connection, made by way of an open directory: socket addresses hold 107 bytes only."""
        fd = os.open(self.local_path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        upstream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            upstream.settimeout(_CONNECT_SECONDS)
            upstream.connect(f"/proc/thread-self/fd/{fd}/{self.local_path.name}")
            upstream.setblocking(False)
        except OSError:
            upstream.close()
            raise
        finally:
            os.close(fd)
        return upstream
