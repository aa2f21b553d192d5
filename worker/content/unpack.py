# SPDX-License-Identifier: Apache-2.0
"""A layer's tar into a layer directory, safely: nothing is ever written outside of it.

Every directory on the way to an entry is known to be a real directory, or is resolved with the layer directory as root.
What a tar leaves to the layers below (directories it does not mention, hard links to files it does not hold) is reported,
and filled in once those layers are there.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worker.base import CancelToken, SourceError
from worker.content.tarread import Entry, TarReader
from worker.runtime import rootpath

_CHUNK = 1 << 20
_OPAQUE = b"trusted.overlay.opaque"


@dataclass(slots=True)
class Owed:
    """What layers below must supply: attributes of directories, and files that are hard linked."""

    directories: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)


class Unpacker:
    """Unpacks one tar into ``root``, an empty directory."""

    def __init__(self, root: Path, cancel: CancelToken) -> None:
        self._root = os.fspath(root)
        self._cancel = cancel
        self._real: set[str] = {""}
        self._times: dict[str, int] = {}
        self.owed = Owed()

    def unpack(self, reader: TarReader) -> Owed:
        """Read all entries and return what is owed.

        Raises:
            TarError: the stream is no tar.
            SourceError: an entry cannot be part of a layer.
            OSError: writing fails.
        """
        for entry in reader:
            self._cancel.check()
            self._one(entry, reader)
        for path in sorted(self._times, reverse=True):
            os.utime(self._full(path), ns=(self._times[path], self._times[path]), follow_symlinks=False)
        return self.owed

    def _one(self, entry: Entry, reader: TarReader) -> None:
        path = _clean(entry.name)
        if not path:
            if entry.kind == b"5":
                self._attributes(self._root, "", entry)
            return
        folder, _, name = path.rpartition("/")
        folder = self._folder(folder)
        path = f"{folder}/{name}" if folder else name
        full = self._full(path)
        if name.startswith(".wh."):
            self._whiteout(folder, name)
            return
        if entry.kind == b"5":
            self._directory(path, full, entry)
            return
        self._make_way(path, full)
        match entry.kind:
            case b"0" | b"7":
                self._file(full, entry, reader)
            case b"2":
                os.symlink(entry.target, full)
            case b"1":
                if not self._link(path, full, entry):
                    return
            case b"3" | b"4" | b"6":
                self._special(full, entry)
            case _:
                raise SourceError(f"the layer holds {entry.name} of unknown type {entry.kind!r}")
        if entry.kind != b"1":
            self._attributes(full, path, entry)

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _folder(self, path: str) -> str:
        """Return the real directory that ``path`` leads to, made if it is missing."""
        if path in self._real:
            return path
        parent, _, name = path.rpartition("/")
        parent = self._folder(parent)
        here = f"{parent}/{name}" if parent else name
        full = self._full(here)
        try:
            mode = os.lstat(full).st_mode
        except FileNotFoundError:
            os.mkdir(full, 0o755)
            self.owed.directories.append(here)
            self._real.add(here)
            return here
        if stat.S_ISDIR(mode):
            self._real.add(here)
            return here
        if stat.S_ISLNK(mode):
            target = os.path.relpath(rootpath.resolve(Path(self._root), here), self._root)
            return self._folder("" if target == "." else target)
        raise SourceError(f"the layer puts a file below {here}, which is no directory")

    def _directory(self, path: str, full: str, entry: Entry) -> None:
        try:
            mode = os.lstat(full).st_mode
        except FileNotFoundError:
            os.mkdir(full, 0o700)
        else:
            if not stat.S_ISDIR(mode):
                os.unlink(full)
                os.mkdir(full, 0o700)
        self._real.add(path)
        if path in self.owed.directories:
            self.owed.directories.remove(path)
        self._attributes(full, path, entry)

    def _make_way(self, path: str, full: str) -> None:
        try:
            mode = os.lstat(full).st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(mode):
            shutil.rmtree(full)
            self._real = {known for known in self._real if known != path and not known.startswith(path + "/")}
            self._times = {known: time for known, time in self._times.items() if not known.startswith(path)}
        else:
            os.unlink(full)

    def _file(self, full: str, entry: Entry, reader: TarReader) -> None:
        descriptor = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            while data := reader.read(_CHUNK):
                _write_all(descriptor, data)
        finally:
            os.close(descriptor)

    def _link(self, path: str, full: str, entry: Entry) -> bool:
        """Make a hard link; False if the file it names is in a layer below."""
        target = _clean(entry.target)
        folder, _, name = target.rpartition("/")
        source = self._full(f"{self._folder(folder)}/{name}" if folder else name)
        try:
            os.link(source, full, follow_symlinks=False)
        except FileNotFoundError:
            self.owed.links.append((path, target))
            return False
        return True

    def _special(self, full: str, entry: Entry) -> None:
        kinds = {b"3": stat.S_IFCHR, b"4": stat.S_IFBLK, b"6": stat.S_IFIFO}
        device = os.makedev(entry.major, entry.minor) if entry.kind != b"6" else 0
        if entry.kind == b"3" and device == 0:
            raise SourceError(
                f"the layer holds the device {entry.name} with the numbers 0, 0, which mark a deletion"
            )
        os.mknod(full, kinds[entry.kind] | 0o600, device)

    def _attributes(self, full: str, path: str, entry: Entry) -> None:
        link = entry.kind == b"2"
        os.chown(full, entry.uid, entry.gid, follow_symlinks=False)
        for key, value in entry.xattrs.items():
            if not key.startswith(("trusted.overlay.", "user.overlay.")):
                _set_xattr(full, key, value)
        if not link:
            os.chmod(full, entry.mode)
        if entry.kind == b"5":
            self._times[path] = entry.mtime_ns
        else:
            os.utime(full, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)

    def _whiteout(self, folder: str, name: str) -> None:
        if name == ".wh..wh..opq":
            os.setxattr(self._full(folder), _OPAQUE, b"y")
            return
        gone = name.removeprefix(".wh.")
        if not gone or gone.startswith(".wh."):
            if gone.startswith(".wh."):
                return  # bookkeeping of aufs, which says nothing about files
            raise SourceError(f"the layer holds a whiteout without a name in {folder or '/'}")
        path = f"{folder}/{gone}" if folder else gone
        full = self._full(path)
        if os.path.lexists(full):
            return  # a whiteout hides lower layers only; the layer's own file stays
        os.mknod(full, stat.S_IFCHR | 0o600, 0)


def settle(root: Path, owed: Owed, lowers: Sequence[Path]) -> None:
    """Fill in what a layer owes from the layers below, given topmost first.

    Raises:
        SourceError: a hard link names a file that no layer holds.
    """
    for path in owed.directories:
        for lower in lowers:
            try:
                status = os.lstat(lower / path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            if stat.S_ISDIR(status.st_mode):
                full = root / path
                os.chown(full, status.st_uid, status.st_gid)
                os.chmod(full, stat.S_IMODE(status.st_mode))
                os.utime(full, ns=(status.st_mtime_ns, status.st_mtime_ns))
            break
    for path, target in owed.links:
        source = next((lower / target for lower in lowers if os.path.lexists(lower / target)), None)
        if source is None:
            raise SourceError(f"the layer links {path} to {target}, which no layer holds")
        own = root / target
        if not own.exists():
            own.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, own, follow_symlinks=False)
            status = os.lstat(source)
            os.chown(own, status.st_uid, status.st_gid, follow_symlinks=False)
        os.link(own, root / path, follow_symlinks=False)


def _clean(name: str) -> str:
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if parts:
                parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _set_xattr(full: str, key: str, value: bytes) -> None:
    try:
        os.setxattr(full, key, value, follow_symlinks=False)
    except OSError as error:
        raise SourceError(f"cannot set the attribute {key} that the layer holds: {error.strerror}") from error
