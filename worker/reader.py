# SPDX-License-Identifier: Apache-2.0
"""Read filesystems on behalf of a frontend: files, directories, one path's metadata. Blocking.

Links are followed inside the filesystem only, and what a local directory's filters hide is not there.
"""

from __future__ import annotations

import fnmatch
import stat

from llbkit.records import dataclass
from llbkit.worker.base import CancelToken
from llbkit.worker.fs.tree import Node, Tree, lookup, relative, resolve
from llbkit.worker.results import Filesystem, Views


@dataclass(frozen=True, slots=True, kw_only=True)
class PathInfo:
    """One entry, with its mode as `os.stat` gives it and its time in nanoseconds since 1970."""

    path: str
    mode: int
    size: int
    mtime_ns: int
    uid: int
    gid: int
    linkname: str


class Reader:
    """Reads what ``views`` shows."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def read_file(self, value: Filesystem, path: str, offset: int, length: int, cancel: CancelToken) -> bytes:
        """Return a regular file's content; ``length`` 0 means to the end.

        Raises:
            IsADirectoryError: the path is a directory.
            FileNotFoundError: there is no regular file.
        """
        with self._views.tree(value, cancel) as tree:
            place, node = self._find(tree, path)
            if node.is_dir:
                raise IsADirectoryError(f"{path} is a directory")
            if not node.is_file:
                raise FileNotFoundError(f"{path} is not a regular file")
            with tree.open(place) as opened, open(opened.descriptor, "rb", closefd=False) as file:
                file.seek(offset)
                return file.read(length or -1)

    def read_dir(self, value: Filesystem, path: str, include: str, cancel: CancelToken) -> list[PathInfo]:
        """Return a directory's entries, sorted by name. Raises FileNotFoundError."""
        with self._views.tree(value, cancel) as tree:
            place, node = self._find(tree, path)
            if not node.is_dir:
                raise FileNotFoundError(f"{path} is not a directory")
            return [
                _info(name, child, tree)
                for name, child in tree.children(place).items()
                if not include or fnmatch.fnmatchcase(name, include)
            ]

    def stat_file(self, value: Filesystem, path: str, cancel: CancelToken) -> PathInfo:
        """Return one path's metadata, links followed. Raises FileNotFoundError."""
        with self._views.tree(value, cancel) as tree:
            place, node = self._find(tree, path)
            return _info(place.rpartition("/")[2], node, tree)

    @staticmethod
    def _find(tree: Tree, path: str) -> tuple[str, Node]:
        place = resolve(tree, relative(path))
        node = lookup(tree, place)
        if node is None:
            raise FileNotFoundError(path)
        return place, node


def _info(name: str, node: Node, tree: Tree) -> PathInfo:
    status = node.stat
    return PathInfo(
        path=name,
        mode=status.st_mode,
        size=status.st_size if stat.S_ISREG(status.st_mode) else 0,
        mtime_ns=status.st_mtime_ns,
        uid=status.st_uid if tree.keeps_owners else 0,
        gid=status.st_gid if tree.keeps_owners else 0,
        linkname=node.link,
    )
