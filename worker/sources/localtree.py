# SPDX-License-Identifier: Apache-2.0
"""Directories of the client: filtered, scanned once a build, hashed only where the graph looks.

Filters are BuildKit's (wire.md B3): include patterns choose, exclude patterns take away, follow paths add what they
lead to through symbolic links. Everything belongs to 0:0. Sockets and vanished files do not exist.

Digests and extended attributes of unchanged files come
from the stat cache; what has to be read is read once, and small files stay in memory for the copy that follows.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from llbkit.grammar.patterns.match import PatternMatcher
from llbkit.solver.ports import ContentKey
from llbkit.worker.base import Snapshot, SourceError
from llbkit.worker.fs.tree import Node, OpenFile, join, lookup
from llbkit.worker.host.parallel import in_threads, threads_for
from llbkit.worker.session.base import Directory, Listing, PathFilters
from llbkit.worker.sources.statcache import StatCache, Xattrs

KEPT_FILE, KEPT_TOTAL = 1 << 16, 96 << 20
_NOTHING: Mapping[str, Node] = {}
_CHUNK = 1 << 20

Show = Callable[[Snapshot], AbstractContextManager[Path]]
Materialize = Callable[["LocalTree"], Snapshot]


class LocalTree:
    """The lazy result of a ``local://`` source; a `llbkit.worker.fs.tree.Tree`.

    Args:
        directory: the directory of the client.
        cache: its stat cache.
        name: what users call it ("context").
        include, exclude: patterns as in ``.dockerignore``.
        follow: paths, possibly with wildcards, that are included with everything their links lead to.
        materialize, show: make a snapshot of the tree and show one, for those who need a real directory.

    Raises:
        SourceError: the directory does not exist or a pattern is malformed.
    """

    keeps_owners = False

    def __init__(
        self,
        directory: Directory,
        cache: StatCache,
        *,
        name: str = "context",
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        follow: Sequence[str] = (),
        materialize: Materialize | None = None,
        show: Show | None = None,
    ) -> None:
        self.directory = directory
        self.name = name
        self.cache = cache
        self.keys: dict[str, ContentKey] = {}
        """Content keys of parts of this tree, by canonical selections."""
        self._filters = PathFilters(include=tuple(include), exclude=tuple(exclude), follow=tuple(follow))
        self._materialize, self._show = materialize, show
        self._lock = threading.RLock()
        self._scanned: Listing | None = None
        self._snapshot: Snapshot | None = None
        self.lease: object = None
        """Keeps the layers of the snapshot that was made of the tree."""
        self._digests: dict[str, bytes] = {}
        self._xattrs: dict[str, Xattrs] = {}
        self._kept: dict[str, bytes] = {}
        self._kept_total = 0
        root = directory.root()
        if root is None:
            raise SourceError(
                f"local directory {name!r}: {directory.where} is not a directory",
                help="check the path",
            )
        self._root = root

    def root(self) -> Node:
        """Return the node of the root directory."""
        return self._root

    def children(self, path: str) -> Mapping[str, Node]:
        """Return the entries of a directory in order of their names; nothing if ``path`` is not a directory."""
        return self._tree().get(path, _NOTHING)

    def xattrs(self, path: str, node: Node) -> Xattrs:
        """Return the extended attributes that a copy keeps, sorted; of unchanged files from the stat cache.

        A file of the client hands on no capabilities, as with BuildKit: it gives none to what runs in an image.
        """
        found = self._all_xattrs(path, node)
        if found and node.is_file:
            return tuple(item for item in found if item[0] != "security.capability")
        return found

    def _all_xattrs(self, path: str, node: Node) -> Xattrs:
        if path in self._digests:
            return self._xattrs.get(path, ())
        known = self.cache.get(path, node)
        if known is not None:
            return known.xattrs
        found = self.directory.xattrs(path)
        if not node.is_file:
            self.cache.put(path, node.stat, b"", found, time.time_ns())
        return found

    def kept(self, path: str) -> bytes | None:
        """Return a small file's content if it was read for its digest and is still in memory."""
        return self._kept.get(path)

    def digests(self, files: Iterable[tuple[str, Node]]) -> Mapping[str, bytes]:
        """Return SHA-256 digests by path, at least of ``files``; only changed files are read, on two threads.

        Raises:
            SourceError: a file cannot be read.
        """
        table = self.cache.table()
        known = self._digests
        missing = []
        for path, node in files:
            if path in known:
                continue
            found, status = table.get(path), node.stat
            # `llbkit.worker.sources.statcache.identity`, written out: this is the hot loop.
            identity = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_dev)
            if found is not None and found[0] == identity and found[1]:
                known[path] = found[1]
                if found[2]:
                    self._xattrs[path] = found[2]
            else:
                missing.append((path, node))
        if missing:
            in_threads(self._read, missing, threads=threads_for([node.stat.st_size for _, node in missing]))
        return known

    def save(self) -> None:
        """Write the stat cache if this tree learnt something."""
        tree = self._tree()
        self.cache.save(join(path, name) for path, entries in tree.items() for name in entries)

    def siblings(self, path: str) -> list[str]:
        """Return the names in a directory that the ignore file does not exclude, read by a step or not."""
        ignored = PatternMatcher(self._filters.exclude)
        names = self.directory.names(path)
        return [name for name in names if not ignored.matches_or_parent(join(path, name))]

    def excluded(self, path: str) -> bool:
        """Return whether ``path`` exists in the directory, but the ignore file excludes it."""
        ignored = PatternMatcher(self._filters.exclude).matches_or_parent(path)
        return ignored and lookup(self, path) is None and self.directory.lstat(path) is not None

    def materialize(self) -> Snapshot:
        """Return the tree as a snapshot, made once.

        Raises:
            RuntimeError: the tree was made without a way to do so.
        """
        with self._lock:
            if self._snapshot is None:
                if self._materialize is None:
                    raise RuntimeError("this tree cannot be materialized")
                self._snapshot = self._materialize(self)
            return self._snapshot

    @contextmanager
    def mountable(self) -> Iterator[Path]:
        """Show the tree read-only as a directory of its own."""
        if self._show is None:
            raise RuntimeError("this tree cannot be viewed")
        with self._show(self.materialize()) as path:
            yield path

    def _read(self, item: tuple[str, Node]) -> None:
        path, node = item
        read_at = time.time_ns()
        with self.directory.open(path) as file:
            writers = file.has_writers()  # who opens it from here on changes its times
            data = file.read(min(node.stat.st_size, KEPT_FILE) + 1)
            digest = hashlib.sha256(data)
            whole = len(data) <= min(node.stat.st_size, KEPT_FILE)
            while not whole and (chunk := file.read(_CHUNK)):
                digest.update(chunk)
            status = file.status()
        self._digests[path] = found = digest.digest()
        if whole and self._kept_total + len(data) <= KEPT_TOTAL:
            self._kept[path] = data
            self._kept_total += len(data)
        xattrs = self.directory.xattrs(path)
        if xattrs:
            self._xattrs[path] = xattrs
        self.cache.put(path, status, found, xattrs, read_at, writers)

    def open(self, path: str) -> OpenFile:
        """Open a regular file for reading."""
        return self.directory.open(path)

    def exists(self, path: str) -> bool:
        """Return whether there is a directory at ``path``, whatever the filters say."""
        node = self.directory.lstat(path)
        return node is not None and node.is_dir

    def _tree(self) -> Listing:
        if self._scanned is None:
            with self._lock:
                if self._scanned is None:
                    self.cache.refresh()
                    self._scanned = self.directory.scan(self._filters)
        return self._scanned
