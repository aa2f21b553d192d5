# SPDX-License-Identifier: Apache-2.0
"""Remove files that a step touched but did not change from its layer.

overlayfs copies a file up as soon as something is done to it, even if nothing becomes of it: ``chown -R`` to the owner
that all files have copies them all, and each leaves its hard links. BuildKit's differ compares with the layers below, and
so does this: mode, owner, device, size, modification time, extended attributes, the target of a link, content. Content is
read only where all else is equal. Of directories the times do not count: one whose entries came and went is unchanged.
A directory that was removed and made again is compared like any other; what it lost becomes whiteouts.

Only what is in the upper layer is looked at, and nothing below a directory that is new.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import NamedTuple

from llbkit.records import dataclass
from llbkit.worker.fs.bytescopy import equal_content
from llbkit.worker.snapshot.overlayfs import (
    clear_opaque,
    is_opaque,
    is_whiteout,
    make_opaque,
    make_whiteout,
    mark_merged,
)

_LONGEST = 2048
"""Letters of a path below which nothing is compared: with a name and the place of the layers it must be a legal path."""


def drop_unchanged(upper: Path, lowers: Sequence[Path]) -> None:
    """Remove from a layer directory what the layers below, given topmost first, show just like it.

    A file stays if another name of it stays, so that they remain one file. Modification times of directories are kept.

    Raises:
        OSError: reading or removing failed.
    """
    _Comparison(os.fspath(upper)).run([os.fspath(lower) for lower in lowers])


class _Entry(NamedTuple):
    full: str
    status: os.stat_result

    @property
    def is_dir(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def inode(self) -> tuple[int, int]:
        return self.status.st_dev, self.status.st_ino


@dataclass(slots=True, kw_only=True)
class _Folder:
    """A directory of the upper layer that exists below. ``hidden``: nothing of ``lowers`` is seen through it yet."""

    entry: _Entry
    lowers: list[str]
    parent: _Folder | None
    same: bool
    hidden: bool
    left: int = 0
    touched: bool = False


@dataclass(slots=True)
class _Comparison:
    upper: str
    folders: list[_Folder] = field(default_factory=list)
    unchanged: list[tuple[_Folder, _Entry]] = field(default_factory=list)

    def run(self, lowers: list[str]) -> None:
        top = _Entry(self.upper, os.lstat(self.upper))
        pending = [_Folder(entry=top, lowers=lowers, parent=None, same=False, hidden=False)]
        while pending:
            folder = pending.pop()
            self.folders.append(folder)
            pending += self._compare(folder)
        names = Counter(entry.inode for _, entry in self.unchanged)
        for folder, entry in self.unchanged:
            if names[entry.inode] == entry.status.st_nlink:
                os.unlink(entry.full)
                folder.left -= 1
                folder.touched = True
        for folder in reversed(self.folders):
            _finish(folder)

    def _compare(self, folder: _Folder) -> list[_Folder]:
        """Compare the entries of a directory; return the directories to go on with."""
        with os.scandir(folder.entry.full) as found:
            entries = {item.name: _Entry(item.path, item.stat(follow_symlinks=False)) for item in found}
        folder.left = len(entries)
        if folder.hidden:
            _uncover(folder, entries)
        inner: list[_Folder] = []
        for name, entry in entries.items():
            below = _visible(folder.lowers, name)
            if is_whiteout(entry.status):
                if not below:  # it hides nothing
                    self.unchanged.append((folder, entry))
            elif not below:
                continue
            elif entry.is_dir and below[0].is_dir:
                if len(entry.full) - len(self.upper) < _LONGEST:
                    inner.append(_inner(folder, entry, below))
                elif folder.hidden:
                    make_opaque(entry.full)  # what hid the entries below it is gone
            elif _same_file(below[0], entry):
                self.unchanged.append((folder, entry))
        return inner


def _inner(folder: _Folder, entry: _Entry, below: list[_Entry]) -> _Folder:
    return _Folder(
        entry=entry,
        lowers=[one.full for one in below],
        parent=folder,
        same=_same_attributes(below[0], entry),
        hidden=folder.hidden or is_opaque(entry.full),
    )


def _uncover(folder: _Folder, entries: dict[str, _Entry]) -> None:
    """Turn what hides all below in a directory into whiteouts of what is gone."""
    below = {name for lower in folder.lowers for name in os.listdir(lower)}
    gone = [name for name in below if name not in entries and _visible(folder.lowers, name)]
    for name in gone:
        make_whiteout(f"{folder.entry.full}/{name}")
    if gone:
        mark_merged(folder.entry.full)
    clear_opaque(folder.entry.full)
    folder.left += len(gone)
    folder.touched = True


def _finish(folder: _Folder) -> None:
    """Remove a directory of which nothing is left, or give back its time."""
    if folder.same and not folder.left:
        os.rmdir(folder.entry.full)
        if folder.parent is not None:
            folder.parent.left -= 1
            folder.parent.touched = True
    elif folder.touched:
        status = folder.entry.status
        os.utime(folder.entry.full, ns=(status.st_atime_ns, status.st_mtime_ns))


def _visible(lowers: list[str], name: str) -> list[_Entry]:
    """Return what directories, topmost first, show under a name: one file, or the directories that are merged, or nothing."""
    found: list[_Entry] = []
    for lower in lowers:
        full = f"{lower}/{name}"
        try:
            entry = _Entry(full, os.lstat(full))
        except FileNotFoundError:
            continue
        if is_whiteout(entry.status) or (found and not entry.is_dir):
            break
        found.append(entry)
        if not entry.is_dir or is_opaque(full):
            break
    return found


def _same_file(lower: _Entry, upper: _Entry) -> bool:
    a, b = lower.status, upper.status
    if (a.st_size, a.st_mtime_ns, a.st_rdev) != (b.st_size, b.st_mtime_ns, b.st_rdev):
        return False
    if not _same_attributes(lower, upper):
        return False
    if stat.S_ISLNK(a.st_mode):
        return os.readlink(lower.full) == os.readlink(upper.full)
    return not stat.S_ISREG(a.st_mode) or equal_content(lower.full, upper.full)


def _same_attributes(lower: _Entry, upper: _Entry) -> bool:
    a, b = lower.status, upper.status
    if (a.st_mode, a.st_uid, a.st_gid) != (b.st_mode, b.st_uid, b.st_gid):
        return False
    return _xattrs(lower.full) == _xattrs(upper.full)


def _xattrs(path: str) -> dict[str, bytes]:
    """Return the extended attributes that belong to the file, not to overlayfs or to the host's policy."""
    return {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in os.listxattr(path, follow_symlinks=False)
        if ".overlay." not in name and name != "security.selinux"
    }
