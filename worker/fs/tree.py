# SPDX-License-Identifier: Apache-2.0
"""Directories as trees of nodes: the common view of contexts and snapshots.

A `Tree` is asked for the children of a directory and answers from one `scandir`, kept for later questions. Paths are
relative to the tree, "/"-separated, without leading slash; "" is the root. Names are text with undecodable bytes as
surrogates. Symbolic links are resolved here, never by the kernel, so no link leads out of the tree.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from typing import NamedTuple, Protocol, Self

from llbkit.grammar.patterns.match import clean_path
from llbkit.worker.base import SourceError
from llbkit.worker.fs.filesystems import is_open_for_writing
from llbkit.worker.fs.rootpath import PATH_MAX
from llbkit.worker.fs.select.wildcards import component_matcher, split_wildcards

MAX_LINKS = 255


class Node(NamedTuple):
    """One directory entry: its lstat result, its type bits (``stat.S_IFMT``), its target if it is a symbolic link."""

    stat: os.stat_result
    kind: int
    link: str = ""

    @property
    def is_dir(self) -> bool:
        """Whether this is a directory."""
        return self.kind == stat.S_IFDIR

    @property
    def is_file(self) -> bool:
        """Whether this is a regular file."""
        return self.kind == stat.S_IFREG

    @property
    def is_link(self) -> bool:
        """Whether this is a symbolic link."""
        return self.kind == stat.S_IFLNK


class OpenFile(Protocol):
    """A regular file open for reading. Leaving its context closes it."""

    @property
    def descriptor(self) -> int:
        """A descriptor with all of the content: `os.fstat` tells its size, and it can be read, sought and cloned."""

    def read(self, size: int) -> bytes:
        """Read on; at most ``size`` bytes, b"" at the end. Raises SourceError."""

    def status(self) -> os.stat_result:
        """Return the file's status as it is after what was read. Raises SourceError."""

    def has_writers(self) -> bool | None:
        """Return whether somebody has it open for writing; None if that is not known."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class LocalFile:
    """An `OpenFile` of this machine, which owns its descriptor."""

    __slots__ = ("_path", "descriptor")

    def __init__(self, descriptor: int, path: str) -> None:
        self.descriptor = descriptor
        self._path = path

    def read(self, size: int) -> bytes:
        """Read on."""
        try:
            return os.read(self.descriptor, size)
        except OSError as error:
            raise unreadable(self._path, error) from error

    def status(self) -> os.stat_result:
        """Return the status as it is now."""
        return os.fstat(self.descriptor)

    def has_writers(self) -> bool | None:
        """Return whether somebody has it open for writing."""
        return is_open_for_writing(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)


class Tree(Protocol):
    """A readable directory tree. Implementations are safe to use from several threads."""

    @property
    def keeps_owners(self) -> bool:
        """Whether owners count; if not, everything belongs to 0:0."""

    def root(self) -> Node:
        """Return the node of the root directory."""

    def children(self, path: str) -> Mapping[str, Node]:
        """Return the entries of a directory in order of their names; nothing if ``path`` is not a directory."""

    def xattrs(self, path: str, node: Node) -> tuple[tuple[str, bytes], ...]:
        """Return the extended attributes that a copy keeps, sorted."""

    def kept(self, path: str) -> bytes | None:
        """Return a small file's content if it happens to be in memory, else None."""

    def open(self, path: str) -> OpenFile:
        """Open a regular file for reading, never through a link.

        Raises:
            SourceError: it cannot be read.
        """


class DirectoryTree:
    """A `Tree` over a directory that does not change meanwhile, such as a snapshot's view."""

    keeps_owners = True

    def __init__(self, base: str) -> None:
        self.base = base
        self._children: dict[str, Mapping[str, Node]] = {}

    def root(self) -> Node:
        """Return the node of the root directory."""
        return Node(os.stat(self.base), stat.S_IFDIR)

    def children(self, path: str) -> Mapping[str, Node]:
        """Return the entries of a directory in order of their names; nothing if ``path`` is not a directory."""
        known = self._children.get(path)
        if known is None:
            # The kernel would follow a link in the path, out of the tree.
            node = lookup(self, path)
            entries = scan(join(self.base, path)) if node is not None and node.is_dir else ()
            known = self._children[path] = dict(entries)
        return known

    def xattrs(self, path: str, node: Node) -> tuple[tuple[str, bytes], ...]:
        """Return the extended attributes that a copy keeps, sorted."""
        return read_xattrs(join(self.base, path))

    def kept(self, path: str) -> bytes | None:
        """Return None: nothing of a snapshot is kept in memory."""
        return None

    def open(self, path: str) -> LocalFile:
        """Open a regular file for reading."""
        return open_file(join(self.base, path))


def scan(path: str) -> list[tuple[str, Node]]:
    """List a directory in order of names, without sockets, whiteouts and vanished entries; empty if it is none.

    Raises:
        SourceError: it cannot be read.
    """
    found: list[tuple[str, Node]] = []
    try:
        entries = os.scandir(path)
    except (FileNotFoundError, NotADirectoryError):
        return found
    except OSError as error:
        raise unreadable(path, error) from error
    with entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
                kind = stat.S_IFMT(status.st_mode)
                if kind == stat.S_IFREG or kind == stat.S_IFDIR:  # faster, and this is a hot loop
                    found.append((entry.name, Node(status, kind)))
                elif kind == stat.S_IFLNK:
                    found.append((entry.name, Node(status, kind, os.readlink(entry.path))))
                elif kind != stat.S_IFSOCK and (kind != stat.S_IFCHR or status.st_rdev):
                    found.append((entry.name, Node(status, kind)))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise unreadable(entry.path, error) from error
    found.sort()
    return found


def open_file(path: str) -> LocalFile:
    """Open a regular file for reading, never through a link.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        return LocalFile(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), path)
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: str, error: OSError) -> SourceError:
    """Return the error for something that cannot be read, with the next step."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    advice = "add it to .dockerignore if the build does not need it"
    if error.errno in (errno.EACCES, errno.EPERM):
        advice = f"make it readable for the user that runs the build, or {advice}"
    return SourceError(f"cannot read {path}: {reason}", help=advice)


def read_xattrs(path: str) -> tuple[tuple[str, bytes], ...]:
    """Return a path's own extended attributes without those that belong to the host, sorted by name.

    Left out: ``com.apple.*``, SELinux labels of the host, and overlayfs' own marks.
    """
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return tuple(
            (name, os.getxattr(path, name, follow_symlinks=False)) for name in sorted(names) if portable(name)
        )
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENODATA, errno.ENOENT, errno.EPERM, errno.EACCES):
            return ()
        raise


def portable(name: str) -> bool:
    """Return whether an extended attribute means the same elsewhere."""
    return not name.startswith(("com.apple.", "trusted.overlay.", "user.overlay.", "security.selinux"))


def join(base: str, path: str) -> str:
    """Return ``base/path``, or ``base`` if ``path`` is empty; either may be ""."""
    return f"{base}/{path}" if path and base else base or path


def relative(path: str) -> str:
    """Return a user's path cleaned and relative to the root: ``..`` stops there."""
    return clean_path("/" + path)[1:]


def lookup(tree: Tree, path: str) -> Node | None:
    """Return the node at a link-free path, or None."""
    if not path:
        return tree.root()
    parent, _, name = path.rpartition("/")
    return tree.children(parent).get(name)


def resolve(tree: Tree, path: str, *, last: bool = True) -> str:
    """Return the link-free path that ``path`` means inside the tree; what does not exist is kept as written.

    ``last`` says whether the last component is followed too. ``..`` stops at the root.

    Raises:
        SourceError: links lead in circles, or the path is too long.
    """
    if len(path) >= PATH_MAX:
        raise SourceError(f"/{path[:40]}...: {os.strerror(errno.ENAMETOOLONG)}", help="shorten the path")
    pending = path.split("/")[::-1]
    done: list[str] = []
    links = 0
    while pending:
        name = pending.pop()
        if name in ("", "."):
            continue
        if name == "..":
            if done:
                done.pop()
            continue
        node = tree.children("/".join(done)).get(name)
        if node is None or not node.is_link or (not last and not any(pending)):
            done.append(name)
            continue
        links += 1
        if links > MAX_LINKS:
            raise SourceError(f"/{path}: too many levels of symbolic links", help="remove one of the links")
        if node.link.startswith("/"):
            done.clear()
        pending.extend(node.link.split("/")[::-1])
    return "/".join(done)


def expand(tree: Tree, path: str, *, follow: bool) -> list[str]:
    """Return the paths that a wildcard path matches, in order; a path without wildcards is returned as it is.

    So is the part before the first wildcard if it does not exist, for others to miss it.

    ``*`` and ``?`` stay inside a component, as in Go's ``filepath.Match``. Links in the part before the first
    wildcard are followed if ``follow``; links that a wildcard matches are not entered.
    """
    names, wildcards = split_wildcards(relative(path))
    start = "/".join(names)
    if not wildcards:
        return [start]
    found = [resolve(tree, start) if follow else start]
    if lookup(tree, found[0]) is None:
        return found
    for part in wildcards:
        match = component_matcher(part)
        found = [join(base, name) for base in found for name in tree.children(base) if match.fullmatch(name)]
    return found
