# SPDX-License-Identifier: Apache-2.0
"""What a build brings along, as ports: directories, secrets, agents, OCI layouts, permissions.

The client may be this process, with everything in place (`llbkit.worker.session.local`), or at the far end of a connection:
values and byte streams are all that crosses. All calls block and are thread-safe. A client that is gone makes them raise
`llbkit.worker.base.SourceError`.

Where the client is on this machine, a port may say so (``local_path``, descriptors of real files): that is the fast path, and
the only places that look at it are `llbkit.worker.sources.statcache.StatCaches` (digests of files that stay where they are),
`llbkit.worker.fs.bytescopy` (reflinks between descriptors), `llbkit.worker.host.ssh.reachable` and
`llbkit.worker.sources.image` (layers that are fetched by a later process).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, TypeAlias

from llbkit.records import dataclass

if TYPE_CHECKING:
    from pathlib import Path
    from socket import socket

    from llbkit.worker.fs.tree import Node, OpenFile

Listing: TypeAlias = "Mapping[str, Mapping[str, Node]]"
"""Entries by directory, sorted by name; paths are relative to the directory, "" is the directory itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathFilters:
    """What of a directory is wanted, as BuildKit's filesync asks for it (wire.md B3).

    ``include`` patterns choose, ``exclude`` patterns take away, ``follow`` paths, possibly with wildcards, add what they lead to
    through symbolic links.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    follow: tuple[str, ...] = ()


class Directory(Protocol):
    """A directory of the client. Paths are relative, "/"-separated and without links; "" is the directory."""

    @property
    def where(self) -> str:
        """What messages call it, as the user wrote it or its path."""

    @property
    def local_path(self) -> str | None:
        """Its real path on this machine; None if it is elsewhere."""

    def root(self) -> Node | None:
        """Return the directory's node; None if it does not exist or is not a directory."""

    def scan(self, filters: PathFilters) -> Listing:
        """List what the filters choose, without sockets and vanished entries. A directory above something chosen is there.

        Raises:
            SourceError: something cannot be read.
        """

    def names(self, path: str) -> Sequence[str]:
        """Return the names in a directory, whatever filters say, sorted; none if it cannot be read."""

    def lstat(self, path: str) -> Node | None:
        """Return the node of a path, whatever filters say; None if there is none."""

    def xattrs(self, path: str) -> tuple[tuple[str, bytes], ...]:
        """Return the extended attributes that mean the same elsewhere, sorted."""

    def open(self, path: str) -> OpenFile:
        """Open a regular file for reading, never through a link.

        Raises:
            SourceError: it cannot be read.
        """


class Agent(Protocol):
    """An SSH agent of the client."""

    @property
    def local_path(self) -> Path | None:
        """Its socket on this machine; None if it is elsewhere."""

    def connect(self) -> socket:
        """Return a new connection to it, a stream socket that does not block; it takes a second at most.

        Raises:
            OSError: it does not answer.
        """


class LayoutFiles(Protocol):
    """The files of an OCI layout of the client: a directory or a tar archive."""

    @property
    def where(self) -> str:
        """What messages call it."""

    @property
    def local_path(self) -> Path | None:
        """Its path on this machine; None if it is elsewhere."""

    def has(self, name: str) -> bool:
        """Return whether there is a regular file of this name, such as ``index.json``."""

    def open(self, name: str) -> tuple[BinaryIO, int]:
        """Open a file; return it, positioned at its start, seekable from there, and its size in bytes.

        Raises:
            SourceError: it is not there or cannot be read.
        """


class Session(Protocol):
    """What one build brings along. Never stored."""

    @property
    def id(self) -> str:
        """Names the session; answers of registries are kept for each."""

    @property
    def entitlements(self) -> frozenset[str]:
        """What was allowed: "network.host", "security.insecure", "device"."""

    def offered(self, kind: Literal["directory", "store"]) -> Sequence[str]:
        """Return the names of what there is, for messages; none if only the client knows."""

    def directory(self, name: str) -> Directory | None:
        """Return a directory by its name, None if the build brought none."""

    def secret(self, name: str) -> bytes | None:
        """Return a secret's value, None if the build brought none. It is asked for when it is needed, each time.

        Raises:
            WorkerError: it was brought, but cannot be read.
        """

    def agent(self, name: str) -> Agent | None:
        """Return an SSH agent by its id, None if the build brought none."""

    def store(self, name: str) -> LayoutFiles | None:
        """Return an OCI layout by its name, None if the build brought none.

        Raises:
            SourceError: what was brought is not there.
        """
