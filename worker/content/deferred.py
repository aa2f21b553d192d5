# SPDX-License-Identifier: Apache-2.0
"""Parts of an unpacked layer that depend on the layers below, and are completed from them.

Layers unpack on their own, in parallel. A tar may count on what is below: it names files in directories that it does not
mention (their attributes are those below, or they are symbolic links there, which lead elsewhere), and it links to files
that it does not hold.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from llbkit.worker.archive.tarread import TarError
from llbkit.worker.content.moves import Moves
from llbkit.worker.fs import rootpath
from llbkit.worker.fs.bytescopy import BytesCopier
from llbkit.worker.fs.descent import remove_tree
from llbkit.worker.snapshot.apply import Deferred
from llbkit.worker.snapshot.overlayfs import Found, Stack, is_opaque, is_whiteout, make_opaque


def complete(root: Path, deferred: Deferred, lowers: Sequence[Path]) -> None:
    """Fill in what a layer owes from the layers below, given topmost first.

    Raises:
        TarError: a hard link names a file that no layer holds.
    """
    _Completion(root, lowers).run(deferred)


class _Completion:
    def __init__(self, root: Path, lowers: Sequence[Path]) -> None:
        self._root = os.fspath(root)
        self._lowers = Stack(lowers)
        self._all = Stack(lowers, upper=root)
        self._hidden: dict[str, bool] = {"": is_opaque(self._root)}

    def run(self, deferred: Deferred) -> None:
        moves = Moves()
        for path in deferred.directories:
            here = moves.locate(path)
            found = self._below(here)
            if found is None:
                continue
            if not self._is_own_directory(here):
                continue  # what was moved there took its place
            if stat.S_ISDIR(found.status.st_mode):
                _copy_attributes(found.full, found.status, self._full(here))
            elif stat.S_ISLNK(found.status.st_mode):
                target = self._target(here, os.readlink(found.full))
                self._move(here, target)
                moves.add(here, target)
        for path, target in deferred.links.items():
            here = moves.locate(path)
            if self._is_own_directory(here.rpartition("/")[0]):
                self._link(here, target)

    def _target(self, path: str, link: str) -> str:
        """Return the directory that a link of the layers below leads to, through the links of all layers.

        Raises:
            TarError: it leads to itself, as this layer has a directory in its place.
        """
        folder = "" if link.startswith("/") else path.rpartition("/")[0]
        target = self._all.resolve(f"{folder}/{link}/.").rpartition("/")[0]
        if target == path or target.startswith(f"{path}/"):
            raise TarError(f"{path} is a directory in this layer and a link to itself in a lower one")
        return target

    def _is_own_directory(self, path: str) -> bool:
        """Return whether this layer has a directory there that no link of its own stands in the way of."""
        full = self._full(path)
        return rootpath.follow(self._root, path) == path and os.path.isdir(full)

    def _below(self, path: str) -> Found | None:
        """Return what the layers below show at ``path``; nothing if this layer hides it."""
        pending = []
        folder = path.rpartition("/")[0] if path else None
        while folder and folder not in self._hidden:
            pending.append(folder)
            folder = folder.rpartition("/")[0]
        hidden = False if folder is None else self._hidden[folder]
        for folder in reversed(pending):
            full = self._full(folder)
            hidden = self._hidden[folder] = hidden or (os.path.isdir(full) and is_opaque(full))
        return None if hidden else self._lowers.lookup(path)

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _move(self, path: str, target: str) -> None:
        """Put what is in a directory, which below is a symbolic link, to where the link leads."""
        with _times_kept(self._full(path.rpartition("/")[0])):
            self._make_folder(target)
            with _times_kept(self._full(target)):
                _merge(self._full(path), self._full(target))

    def _link(self, path: str, target: str) -> None:
        where = self._all.resolve(target)
        own = self._full(where)
        if not os.path.lexists(own):
            found = self._below(where)
            if found is None or stat.S_ISDIR(found.status.st_mode):
                raise TarError(f"{path} is a hard link to {target}, which no layer contains")
            self._make_folder(where.rpartition("/")[0])
            with _times_kept(os.path.dirname(own)):
                _copy_file(found.full, found.status, own)
        with _times_kept(os.path.dirname(self._full(path))):
            os.link(own, self._full(path), follow_symlinks=False)

    def _make_folder(self, path: str) -> None:
        """Make a directory with its parents, with the attributes that they have below."""
        missing = []
        while path and not self._is_own_directory(path):
            missing.append(path)
            path = path.rpartition("/")[0]
        for folder in reversed(missing):
            with _times_kept(self._full(folder.rpartition("/")[0])):
                os.mkdir(self._full(folder))
            os.chmod(self._full(folder), 0o755)
            found = self._below(folder)
            if found is not None and stat.S_ISDIR(found.status.st_mode):
                _copy_attributes(found.full, found.status, self._full(folder))


def _merge(source: str, target: str) -> None:
    """Move the entries of one directory of a layer into another; what comes later in the tar wins."""
    pending, emptied = [(source, target)], []
    while pending:
        source, target = pending.pop()
        emptied.append(source)
        if is_opaque(source):
            make_opaque(target)
        for name in os.listdir(source):
            old, new = f"{source}/{name}", f"{target}/{name}"
            if os.path.isdir(new) and not os.path.islink(new):
                if os.path.isdir(old) and not os.path.islink(old):
                    pending.append((old, new))
                    continue
                remove_tree(new)
            elif os.path.lexists(new):
                if is_whiteout(os.lstat(old)):
                    os.unlink(old)
                    continue
                os.unlink(new)
            os.rename(old, new)
    for folder in reversed(emptied):
        os.rmdir(folder)


def _copy_file(source: str, status: os.stat_result, target: str) -> None:
    """Copy anything but a directory, with all its attributes."""
    mode = status.st_mode
    if stat.S_ISREG(mode):
        with open(source, "rb", buffering=0) as reader, open(target, "xb", buffering=0) as writer:
            BytesCopier().copy(reader.fileno(), writer.fileno(), status)
    elif stat.S_ISLNK(mode):
        os.symlink(os.readlink(source), target)
    else:
        os.mknod(target, mode, status.st_rdev)
    _copy_attributes(source, status, target)


def _copy_attributes(source: str, status: os.stat_result, target: str) -> None:
    os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    for name in os.listxattr(source, follow_symlinks=False):
        if ".overlay." not in name:
            os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns), follow_symlinks=False)


@contextmanager
def _times_kept(directory: str) -> Iterator[None]:
    """Keep a directory's modification time over a change in it."""
    before = os.stat(directory).st_mtime_ns
    yield
    os.utime(directory, ns=(before, before))
