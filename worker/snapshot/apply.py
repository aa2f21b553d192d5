# SPDX-License-Identifier: Apache-2.0
"""Unpack a layer's tar into a layer directory; nothing is ever written outside of it.

Every directory on the way to an entry is known to be a real directory, or is resolved with the layer directory as root.
What a tar leaves to the layers below (directories it does not mention, hard links to files it does not hold) is reported,
and filled in by `llbkit.worker.content.deferred` once those layers are there.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import field
from pathlib import Path

from llbkit.records import dataclass
from llbkit.worker.archive.tarread import Entry, TarError, TarReader, check_depth
from llbkit.worker.base import CancelToken
from llbkit.worker.fs import rootpath
from llbkit.worker.fs.descent import remove_tree
from llbkit.worker.snapshot.overlayfs import is_whiteout, make_opaque, make_whiteout, mark_merged

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""Failures that are the disk's, not the layer's."""


@dataclass(slots=True)
class Deferred:
    """What layers below must supply: attributes of directories, and files that are hard linked.

    ``directories`` are paths in order of their making ("" is the layer's root), ``links`` maps a path to what it links.
    """

    directories: dict[str, None] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.directories or self.links)


class Unpacker:
    """Unpacks one tar into ``root``, an empty directory."""

    def __init__(self, root: Path, cancel: CancelToken) -> None:
        self._root = os.fspath(root)
        self._cancel = cancel
        self._real: set[str] = {""}
        self._known_below: dict[str, set[str]] = {}
        self._times: dict[str, int] = {}
        self.deferred = Deferred(directories={"": None})
        os.chmod(root, 0o755)

    def unpack(self, reader: TarReader) -> Deferred:
        """Read all entries and return what is deferred.

        Raises:
            TarError: the stream is not a tar, or an entry cannot be part of a layer.
            OSError: the disk fails.
        """
        for entry in reader:
            self._cancel.check()
            entry.check_paths()
            try:
                self._one(entry, reader)
            except OSError as error:
                if error.errno in DISK_ERRORS:
                    raise
                raise TarError(f"{entry.name[:200]} cannot be created: {error.strerror or error}") from error
        for path in sorted(self._times, reverse=True):
            os.utime(self._full(path), ns=(self._times[path], self._times[path]), follow_symlinks=False)
        return self.deferred

    def _one(self, entry: Entry, reader: TarReader) -> None:
        path = clean(entry.name)
        if not path:
            if entry.kind == b"5":
                self._attributes(self._root, "", entry)
                self.deferred.directories.pop("", None)
            return
        check_depth(self._full(path))
        folder, _, name = path.rpartition("/")
        folder = self._folder(folder)
        path = f"{folder}/{name}" if folder else name
        full = self._full(path)
        check_depth(full)
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
                self._link(path, full, entry)
                return
            case b"3" | b"4" | b"6":
                self._special(full, entry)
            case _:
                raise TarError(f"{entry.name}: unknown entry type {entry.kind!r}")
        self._attributes(full, path, entry)

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _folder(self, path: str) -> str:
        """Return the real directory that ``path`` leads to, made if it is missing."""
        pending = []
        here = path
        while here not in self._real:
            here, _, name = here.rpartition("/")
            pending.append(name)
        while pending:
            name = pending.pop()
            inner = f"{here}/{name}" if here else name
            target = inner if inner in self._real else self._enter(inner)
            if target == inner:
                here = inner
            else:
                pending += reversed(target.split("/") if target else [])
                here = ""
        return here

    def _enter(self, path: str) -> str:
        """Return where ``path`` leads, whose parent is a real directory: itself, made if it is missing, or a link's target."""
        full = self._full(path)
        try:
            status = os.lstat(full)
        except FileNotFoundError:
            self._implicit(path, full)
            self.deferred.directories[path] = None
            return path
        if stat.S_ISDIR(status.st_mode):
            self._know(path)
        elif stat.S_ISLNK(status.st_mode):
            return rootpath.follow(self._root, path)
        elif is_whiteout(status):
            os.unlink(full)
            self._implicit(path, full)
            make_opaque(full)
        else:
            raise TarError(f"file below {path}, which is not a directory")
        return path

    def _know(self, path: str, *, real: bool = True) -> None:
        """Note a directory, or a link that is deferred, so that it is forgotten with what holds it."""
        if real:
            self._real.add(path)
        self._known_below.setdefault(path.rpartition("/")[0], set()).add(path)

    def _implicit(self, path: str, full: str) -> None:
        os.mkdir(full)
        os.chmod(full, 0o755)
        self._know(path)

    def _directory(self, path: str, full: str, entry: Entry) -> None:
        hides = False
        if path not in self._real:
            try:
                status = os.lstat(full)
            except FileNotFoundError:
                os.mkdir(full, 0o700)
            else:
                if not stat.S_ISDIR(status.st_mode):
                    os.unlink(full)
                    os.mkdir(full, 0o700)
                    hides = is_whiteout(status)
                    self.deferred.links.pop(path, None)
        self._know(path)
        self.deferred.directories.pop(path, None)
        self._attributes(full, path, entry)
        if hides:
            make_opaque(full)

    def _make_way(self, path: str, full: str) -> None:
        self.deferred.links.pop(path, None)
        try:
            mode = os.lstat(full).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(mode):
            os.unlink(full)
            return
        remove_tree(full)
        gone = [path]
        while gone:
            one = gone.pop()
            gone += self._known_below.pop(one, ())
            self._real.discard(one)
            for known in (self._times, self.deferred.directories, self.deferred.links):
                known.pop(one, None)

    def _file(self, full: str, entry: Entry, reader: TarReader) -> None:
        descriptor = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            reader.write_to(descriptor, entry, self._cancel.check)
        finally:
            os.close(descriptor)

    def _link(self, path: str, full: str, entry: Entry) -> None:
        """Make a hard link, or owe it if the file it names is in a layer below."""
        target = clean(entry.target)
        folder, _, name = target.rpartition("/")
        known = self._known_folder(folder)
        source = (f"{known}/{name}" if known else name) if known is not None else target
        if known is not None:
            try:
                status = os.lstat(self._full(source))
            except FileNotFoundError:
                pass
            else:
                if stat.S_ISDIR(status.st_mode) or is_whiteout(status):
                    raise TarError(f"{path} is a hard link to {target}, which is not a file")
                os.link(self._full(source), full, follow_symlinks=False)
                return
        self.deferred.links[path] = source
        self._know(path, real=False)

    def _known_folder(self, path: str) -> str | None:
        """Return the real directory that ``path`` leads to; None if the layer does not hold it."""
        if path in self._real:
            return path
        resolved = rootpath.follow(self._root, path)
        return resolved if resolved in self._real else None

    def _special(self, full: str, entry: Entry) -> None:
        kinds = {b"3": stat.S_IFCHR, b"4": stat.S_IFBLK, b"6": stat.S_IFIFO}
        device = os.makedev(entry.major, entry.minor) if entry.kind != b"6" else 0
        if entry.kind == b"3" and device == 0:
            raise TarError(f"device {entry.name} has the numbers 0, 0, which mark a deletion")
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
            make_opaque(self._full(folder))
            return
        gone = name.removeprefix(".wh.")
        if gone.startswith(".wh."):
            return  # bookkeeping of aufs, unrelated to files
        if gone in ("", ".", ".."):
            raise TarError(f"whiteout without a name in {folder or '/'}")
        path = f"{folder}/{gone}" if folder else gone
        full = self._full(path)
        try:
            mode = os.lstat(full).st_mode
        except FileNotFoundError:
            make_whiteout(full)
            mark_merged(self._full(folder))
            return
        # A whiteout hides lower layers only: the layer's own file stays, and a directory shows nothing of them.
        if stat.S_ISDIR(mode):
            make_opaque(full)
            self.deferred.directories.pop(path, None)


def clean(name: str) -> str:
    """Return a tar's name as a path below the root, without ``.`` and ``..``."""
    if "." not in name and "//" not in name:
        return name.strip("/")
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if parts:
                parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _set_xattr(full: str, key: str, value: bytes) -> None:
    try:
        os.setxattr(full, key, value, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP and key != "security.capability":
            return  # the filesystem keeps none of that kind, nor would it for any other engine
        raise TarError(f"cannot set attribute {key[:80]}: {error.strerror}") from error
