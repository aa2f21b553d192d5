# SPDX-License-Identifier: Apache-2.0
"""Archives that a copy unpacks: tar, plain or compressed with gzip, bzip2, xz or zstd.

Source of behaviour: Dockerfile reference, ``ADD``: what a file is, is decided by its content, not by its name. The
archive is unpacked as if its destination were the root: no link leads out of it, and a member that would leave it is an
error. What is in the way is replaced, except that directories merge; the destination itself stays as it is. Metadata in the
header of a hard link go to the file, times that Go cannot hold are 1970, and garbage behind the end of the archive does not
count: all this is BuildKit's. A wrong checksum of the compression is an error, which BuildKit does not notice. Memory stays small, whatever the archive claims.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llbkit.grammar.patterns.match import clean_path
from llbkit.worker.archive.decompress import DecompressedStream, decompressor_of
from llbkit.worker.archive.tarread import Entry, TarError, TarReader, check_depth
from llbkit.worker.base import CancelToken, FileOpError
from llbkit.worker.fs.owners import Owner
from llbkit.worker.fs.tree import join, portable, relative
from llbkit.worker.fs.writable import WritableRoot, is_about_storage

_HEAD = 512
_LATEST = (1 << 63) - 1  # nanoseconds
_DEVICES = {b"3": stat.S_IFCHR, b"4": stat.S_IFBLK}


def is_archive(path: str) -> bool:
    """Return whether a regular file is a tar archive, looking at its first member."""
    try:
        with _opened(path) as (reader, _):
            return next(iter(reader), None) is not None
    except (OSError, TarError):
        return False


def unpack(path: str, base: str, token: CancelToken, owner: Owner | None = None, *, name: str = "") -> None:
    """Unpack the archive at host path ``path`` into the directory ``base``; all members belong to ``owner`` if given.

    Messages call it ``name``, by default the last part of the path.

    Raises:
        FileOpError: it is damaged, or holds what cannot be.
    """
    name = name or os.path.basename(path)
    try:
        with _opened(path) as (reader, finish):
            _Unpacker(reader, base, token, name, owner).run()
            finish()
    except TarError as error:
        raise FileOpError(
            f"{name}: damaged archive: {error}", help="recreate the archive or fetch it again"
        ) from error


@contextmanager
def _opened(path: str) -> Iterator[tuple[TarReader, Callable[[], None]]]:
    """Open an archive; whatever is wrong with its compression is a `TarError` of the reader.

    The function reads what is behind the tar's end, so that the compression's checksum has its say.
    """
    with open(path, "rb") as file:
        head = file.read(_HEAD)
        file.seek(0)
        decompress = decompressor_of(head)
        if decompress is None:
            yield TarReader(file.read), lambda: None
            return
        stream = DecompressedStream(decompress(file))
        yield TarReader(stream.read), stream.finish


class _Unpacker:
    """One archive into one directory."""

    def __init__(
        self, reader: TarReader, base: str, token: CancelToken, name: str, owner: Owner | None
    ) -> None:
        self._reader, self._token, self._name, self._owner = reader, token, name, owner
        self._root = WritableRoot(base)
        self._directories: list[tuple[str, Entry]] = []
        self._resolved: dict[str, str] = {"": ""}
        """Directories by their names in the archive; emptied when something is removed."""
        self._removed = False

    def run(self) -> None:
        for member in self._reader:
            self._token.check()
            member.check_paths()
            try:
                self._one(member)
            except FileOpError as error:
                raise FileOpError(
                    f"{self._name}: cannot unpack {member.name[:200]}: {error}", help=error.help
                ) from error
            except OSError as error:
                if is_about_storage(error):
                    raise
                reason = error.strerror or str(error)
                raise FileOpError(
                    f"{self._name}: cannot unpack {member.name[:200]}: {reason}",
                    help="recreate the archive without this entry",
                ) from error
        for where, member in self._directories:
            # A directory that was removed again may have left its place to a link that leads out.
            if not self._removed or (self._root.is_directory(where) and self._root.resolve(where) == where):
                self._set_times(where, member)

    def _one(self, member: Entry) -> None:
        path = _inside(member.name, "entry name")
        check_depth(self._root.full(path))
        folder, _, name = path.rpartition("/")
        where = join(self._folder(folder), name)
        full = self._root.full(where)
        check_depth(full)
        if not where:
            return
        self._clear(where, member)
        self._make(where, full, member)

    def _folder(self, path: str) -> str:
        """Return the directory that a member's parent leads to, made if it is missing."""
        names = []
        while path not in self._resolved:
            path, _, name = path.rpartition("/")
            names.append(name)
        where = self._resolved[path]
        for name in reversed(names):
            where, path = join(where, name), join(path, name)
            status = self._root.lstat(where)
            if status is not None and stat.S_ISLNK(status.st_mode):
                where = self._root.resolve(where)
            if not self._root.is_directory(where):
                self._root.make_directories(where, 0o755, None, -1)
                os.chmod(
                    self._root.full(where), 0o755
                )  # BuildKit's: the group is inherited, set-group-id is not
            self._resolved[path] = where
        return where

    def _clear(self, where: str, member: Entry) -> None:
        existing = self._root.lstat(where)
        if existing is None or (member.kind == b"5" and stat.S_ISDIR(existing.st_mode)):
            return
        self._root.remove(where)
        if not stat.S_ISREG(existing.st_mode):
            self._resolved = {"": ""}
            self._removed = True

    def _make(self, where: str, full: str, member: Entry) -> None:
        match member.kind:
            case b"5":
                if self._root.lstat(where) is None:
                    os.mkdir(full)
                self._directories.append((where, member))
            case b"0":
                self._write(full, member)
            case b"2":
                os.symlink(member.target, full)
            case b"1":
                target = self._root.resolve(_inside(member.target, "hardlink target"), last=False)
                os.link(self._root.full(target), full, follow_symlinks=False)
            case b"3" | b"4":
                os.mknod(full, _DEVICES[member.kind] | 0o600, os.makedev(member.major, member.minor))
            case b"6":
                os.mkfifo(full)
            case _:
                raise TarError(f"unhandled tar header type {member.kind!r} of {member.name[:200]}")
        self._set_metadata(where, full, member)

    def _write(self, full: str, member: Entry) -> None:
        fd = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            self._reader.write_to(fd, member, self._token.check)
        finally:
            os.close(fd)

    def _set_metadata(self, where: str, full: str, member: Entry) -> None:
        owner = self._owner or (member.uid, member.gid)
        is_link = member.kind == b"2"
        known = None
        if member.kind == b"1":
            status = os.lstat(full)
            is_link, known = stat.S_ISLNK(status.st_mode), (status.st_uid, status.st_gid)
        if owner != known:  # changing an owner takes capabilities away
            os.lchown(full, *owner)
        for name, value in member.xattrs.items():
            if portable(name):
                try:
                    os.setxattr(full, name, value, follow_symlinks=False)
                except OSError as error:
                    # EPERM: user.* of a symbolic link; BuildKit leaves it out as well.
                    if error.errno not in (errno.ENOTSUP, errno.EPERM) or name == "security.capability":
                        raise TarError(f"cannot set the attribute {name[:80]}: {error.strerror}") from error
        if not is_link:
            os.chmod(full, member.mode)
        if member.kind != b"5" and not (is_link and member.kind == b"1"):
            self._set_times(where, member)

    def _set_times(self, where: str, member: Entry) -> None:
        mtime = member.mtime_ns if 0 <= member.mtime_ns <= _LATEST else 0
        os.utime(self._root.full(where), ns=(mtime, mtime), follow_symlinks=False)


def _inside(path: str, what: str) -> str:
    """Return a member's path cleaned and relative to the destination.

    Raises:
        TarError: it leads out, links aside.
    """
    cleaned = clean_path(path)
    if cleaned == ".." or cleaned.startswith("../"):
        raise TarError(f"invalid {what} {path[:200]!r}: outside the destination")
    return relative(cleaned)
