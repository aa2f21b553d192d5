# SPDX-License-Identifier: Apache-2.0
"""Directories of this machine, read in place."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from functools import cached_property

from llbkit.worker.fs.select.filters import START, Filter, FilterState
from llbkit.worker.fs.select.followpaths import follow_paths
from llbkit.worker.fs.tree import LocalFile, Node, join, open_file, read_xattrs, scan
from llbkit.worker.session.base import PathFilters


class LocalDirectory:
    """A `llbkit.worker.session.base.Directory` of this machine.

    Cost of a scan: one ``scandir`` a directory and one ``lstat`` an entry.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)

    @cached_property
    def local_path(self) -> str:
        """The real path."""
        return os.path.realpath(self._path)

    @property
    def where(self) -> str:
        """The real path."""
        return self.local_path

    def root(self) -> Node | None:
        """Return the directory's node."""
        try:
            status = os.stat(self.local_path)
        except OSError:
            return None
        return Node(status, stat.S_IFDIR) if stat.S_ISDIR(status.st_mode) else None

    def scan(self, filters: PathFilters) -> dict[str, dict[str, Node]]:
        """List what the filters choose."""
        patterns = list(filters.include)
        if filters.follow:
            followed = follow_paths(self.local_path, filters.follow)
            if "" not in followed:
                patterns += followed
            else:
                patterns = [*patterns, "**"] if patterns else []
        return walk(self.local_path, Filter(patterns, filters.exclude))

    def names(self, path: str) -> list[str]:
        """Return the names in a directory."""
        with suppress(OSError):
            return sorted(os.listdir(join(self.local_path, path)))
        return []

    def lstat(self, path: str) -> Node | None:
        """Return the node of a path."""
        full = join(self.local_path, path)
        try:
            status = os.lstat(full)
            kind = stat.S_IFMT(status.st_mode)
            return Node(status, kind, os.readlink(full) if kind == stat.S_IFLNK else "")
        except OSError:
            return None

    def xattrs(self, path: str) -> tuple[tuple[str, bytes], ...]:
        """Return the extended attributes."""
        return read_xattrs(join(self.local_path, path))

    def open(self, path: str) -> LocalFile:
        """Open a regular file."""
        return open_file(join(self.local_path, path))


def walk(base: str, chosen: Filter) -> dict[str, dict[str, Node]]:
    """List a directory tree: entries by directory, sorted by name, filtered.

    A directory that is not itself included is there if something below it is.

    Raises:
        SourceError: something cannot be read.
    """
    tree: dict[str, dict[str, Node]] = {}
    pending: list[tuple[str, FilterState]] = [("", START)]
    weak: list[str] = []
    while pending:
        path, state = pending.pop()
        entries = dict(scan(join(base, path)))
        if not chosen:
            pending += [(join(path, name), START) for name, node in entries.items() if node.is_dir]
        else:
            for name, node in list(entries.items()):
                child = join(path, name)
                verdict = chosen.judge(child, state, is_dir=node.is_dir)
                if node.is_dir and verdict.enter:
                    pending.append((child, verdict.state))
                    if not verdict.taken:
                        weak.append(child)
                elif not verdict.taken:
                    del entries[name]
        tree[path] = entries
    for path in reversed(weak):  # children come after their parents
        if not tree[path]:
            del tree[path]
            parent, _, name = path.rpartition("/")
            del tree[parent][name]
    return tree
