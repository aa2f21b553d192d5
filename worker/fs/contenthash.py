# SPDX-License-Identifier: Apache-2.0
"""Digests of selected files, from which content keys are made.

What counts: the path below the selection, type, permissions, owner, link target, device number, extended attributes
and content. Times do not. The digest is the same whether the files lie in a local directory or in a snapshot. It is
built directory by directory, so that a key can say cheaply which directory, or which file, differs.

A missing path has a digest of its own; `misses` tells whether a key has one.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from llbkit.solver.ports import ContentKey, Json
from llbkit.worker.base import CancelToken, Snapshot, Snapshotter
from llbkit.worker.fs.select.selection import Pick, Selection
from llbkit.worker.fs.tree import DirectoryTree, Node, OpenFile, Tree, join
from llbkit.worker.host.parallel import in_threads, threads_for
from llbkit.worker.results import Filesystem, by_kind
from llbkit.worker.sources.localtree import LocalTree
from llbkit.worker.sources.statcache import Xattrs
from llbkit.worker.state.metadata import Metadata

SHOWN_FILES, SHOWN_DIRECTORIES = 512, 512
_CHUNK = 1 << 20
_MISSING = "missing"
_VERSION = b"llbkit.content.1\0"
_SPECIAL = {stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFBLK: "b", stat.S_IFCHR: "c", stat.S_IFIFO: "p"}

_UTF8 = ("utf-8", "surrogateescape")

Digests = Mapping[str, bytes]


class DigestStore(Protocol):
    """Where content keys of snapshots are remembered. Both calls are thread-safe."""

    def get(self, key: str) -> bytes | None:
        """Return what was stored under ``key``, or None."""

    def put(self, key: str, value: bytes) -> None:
        """Store ``value``; it may be forgotten at any time."""


class StoredDigests:
    """A `DigestStore` in the worker's database; the newest ten thousand are kept."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        metadata.register(
            "content", 1, "CREATE TABLE content_key (key TEXT NOT NULL UNIQUE, value BLOB NOT NULL)"
        )

    def get(self, key: str) -> bytes | None:
        """Return what was stored under ``key``, or None."""
        rows = self._metadata.query("SELECT value FROM content_key WHERE key = ?", (key,))
        return bytes(rows[0][0]) if rows else None

    def put(self, key: str, value: bytes) -> None:
        """Store ``value``."""
        with self._metadata.transaction() as db:
            db.execute("INSERT OR REPLACE INTO content_key VALUES (?, ?)", (key, value))
            db.execute("DELETE FROM content_key WHERE rowid <= (SELECT max(rowid) FROM content_key) - 10000")


class ContentHasher:
    """Computes and remembers content keys of results.

    Args:
        snapshotter: shows snapshots.
        ensure: ``ensure(snapshot, token)`` fetches and unpacks its layers.
        store: remembers keys of snapshots, which never change.
    """

    def __init__(
        self,
        snapshotter: Snapshotter,
        ensure: Callable[[Snapshot, CancelToken], None],
        store: DigestStore,
    ) -> None:
        self._snapshotter, self._ensure, self._store = snapshotter, ensure, store

    def key(self, value: Filesystem, selections: Sequence[Selection], token: CancelToken) -> ContentKey:
        """Return the key of the selected parts of a filesystem. Blocking; needs the pools' namespace.

        Raises:
            WorkerError: something cannot be read or fetched.
        """
        text = "\n".join(selection.text for selection in selections)
        return by_kind(
            value,
            snapshot=lambda snapshot: self._of_snapshot(snapshot, text, selections, token),
            local=lambda tree: self._of_local(tree, text, selections, token),
        )

    @staticmethod
    def _of_local(
        tree: LocalTree, text: str, selections: Sequence[Selection], token: CancelToken
    ) -> ContentKey:
        known = tree.keys.get(text)
        if known is None:
            known = tree.keys[text] = digest_of(tree, selections, token)
            tree.save()
        return known

    def _of_snapshot(
        self, snapshot: Snapshot, text: str, selections: Sequence[Selection], token: CancelToken
    ) -> ContentKey:
        name = "content:" + hashlib.sha256(f"{snapshot.layers}\n{text}".encode(*_UTF8)).hexdigest()
        stored = self._store.get(name)
        if stored is not None:
            found = json.loads(stored)
            return ContentKey(digest=found["digest"], ingredients=found["ingredients"])
        self._ensure(snapshot, token)
        with self._snapshotter.view(snapshot) as path:
            key = digest_of(DirectoryTree(os.fspath(path)), selections, token)
        encoded = json.dumps({"digest": key.digest, "ingredients": dict(key.ingredients)})
        self._store.put(name, encoded.encode(*_UTF8))
        return key


def digest_of(tree: Tree, selections: Sequence[Selection], token: CancelToken) -> ContentKey:
    """Return the key of the selected parts of a tree. Cost: one pass over them; files as `file_digests`.

    Raises:
        WorkerError: something cannot be read.
    """
    total = hashlib.sha256(_VERSION)
    parts: dict[str, Json] = {}
    for selection in selections:
        for root in selection.roots(tree):
            token.check()
            total.update((root.name.encode(*_UTF8) if selection.named else b"") + b"\0")
            total.update(b"found\0" if root.picks else b"missing\0")
            if not root.picks:
                parts["/" + root.chosen] = _MISSING
            _add(total, parts, tree, selection, root.picks, token)
        for path in selection.missing(tree):
            total.update(b"required\0" + path.encode(*_UTF8) + b"\0")
            parts[path] = _MISSING
    return ContentKey(digest="sha256:" + total.hexdigest(), ingredients=_bounded(parts))


def misses(key: ContentKey) -> bool:
    """Return whether the key shows that a selected path is not there."""
    files = key.ingredients.get("files")
    return isinstance(files, Mapping) and _MISSING in files.values()


def file_digests(tree: Tree, files: Sequence[tuple[str, Pick]], token: CancelToken) -> Digests:
    """Return SHA-256 digests of regular files by path: from the stat cache, or read on two threads.

    Raises:
        SourceError: a file cannot be read.
    """
    if isinstance(tree, LocalTree):
        return tree.digests((path, pick.node) for path, pick in files)
    digests: dict[str, bytes] = {}
    same: dict[tuple[int, int], list[str]] = {}  # hard links are read once
    for path, pick in files:
        status = pick.node.stat
        same.setdefault((status.st_dev, status.st_ino), []).append(path)

    def read(paths: list[str]) -> None:
        token.check()
        with tree.open(paths[0]) as file:
            digest = hash_file(file)
        for path in paths:
            digests[path] = digest

    in_threads(read, list(same.values()), threads=threads_for([pick.node.stat.st_size for _, pick in files]))
    return digests


def hash_file(file: OpenFile) -> bytes:
    """Return the SHA-256 digest of the rest of an open file.

    Raises:
        SourceError: it cannot be read.
    """
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.digest()


def _add(
    total: hashlib._Hash,
    parts: dict[str, Json],
    tree: Tree,
    selection: Selection,
    picks: Sequence[Pick],
    token: CancelToken,
) -> None:
    """Add the picks of one root, directory by directory in order of their first entry."""
    digests = file_digests(tree, [(p.path, p) for p in picks if p.node.is_file], token)
    groups: dict[str, list[bytes]] = {}
    shown = len(picks) + len(parts) <= SHOWN_FILES
    mask = 0o7777 if selection.modes else 0
    owned = selection.owners and tree.keeps_owners
    for pick in picks:
        path, below, node, _ = pick
        directory, _, name = below.rpartition("/")
        if node.kind == stat.S_IFREG:
            line = _file_line(name, node.stat, digests[path], mask, owned=owned)
        elif below or not (selection.contents and node.is_dir):
            line = _special_line(name, node, mask, owned=owned)
        else:
            continue
        xattrs = tree.xattrs(path, node)
        if xattrs:
            line += _xattr_bytes(xattrs)
        groups.setdefault(directory, []).append(b"%d\0%s" % (len(line), line))
        if shown:
            parts["/" + path] = _summary(pick, digests.get(path), mask, xattrs, owned=owned)
    total.update(b"%d\0" % len(groups))
    for directory, lines in groups.items():
        digest = hashlib.sha256(b"".join(lines)).digest()
        total.update(directory.encode(*_UTF8) + b"\0" + digest)
        if not shown:
            parts["/" + join(picks[0].path, directory) + "/"] = digest[:8].hex()


def _file_line(name: str, status: os.stat_result, digest: bytes, mask: int, *, owned: bool) -> bytes:
    owner = f"{status.st_uid}:{status.st_gid}" if owned else "0:0"
    return f"{name}\0f{status.st_mode & mask:o}\0{owner}\0".encode(*_UTF8) + digest


def _special_line(name: str, node: Node, mask: int, *, owned: bool) -> bytes:
    status = node.stat
    mode = 0 if node.is_link else status.st_mode & mask
    owner = f"{status.st_uid}:{status.st_gid}" if owned else "0:0"
    kind = _SPECIAL[node.kind]
    device = status.st_rdev if kind in "bc" else 0
    return f"{name}\0{kind}{mode:o}\0{owner}\0{node.link}\0{device:x}\0".encode(*_UTF8)


def _xattr_bytes(xattrs: Xattrs) -> bytes:
    body = b"".join(b"%s\0%d\0%s" % (key.encode(*_UTF8), len(value), value) for key, value in xattrs)
    return b"x%d\0%s" % (len(body), body)


def _summary(pick: Pick, digest: bytes | None, mask: int, xattrs: Xattrs, *, owned: bool) -> str:
    """Return what counts of one node in short, for people."""
    node, status = pick.node, pick.node.stat
    if node.is_link:
        text = f"-> {node.link}"
    else:
        text = f"{status.st_mode & mask:o} {digest[:8].hex() if digest is not None else _SPECIAL[node.kind]}"
    if owned and (status.st_uid or status.st_gid):
        text += f" {status.st_uid}:{status.st_gid}"
    if xattrs:
        text += f" +{hashlib.sha256(_xattr_bytes(xattrs)).hexdigest()[:8]}"
    return text


def _bounded(parts: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return at most a bounded number of parts and one digest of the rest."""
    if len(parts) <= SHOWN_DIRECTORIES:
        shown, rest = dict(parts), {}
    else:
        names = list(parts)
        shown = {name: parts[name] for name in names[:SHOWN_DIRECTORIES]}
        rest = {name: parts[name] for name in names[SHOWN_DIRECTORIES:]}
    out: dict[str, Json] = {"files": {_printable(name): value for name, value in shown.items()}}
    if rest:
        text = json.dumps(rest, sort_keys=True).encode(*_UTF8)
        out["rest"] = f"{len(rest)} more {hashlib.sha256(text).hexdigest()[:16]}"
    return out


def _printable(path: str) -> str:
    return path.encode(*_UTF8).decode("utf-8", "backslashreplace")
