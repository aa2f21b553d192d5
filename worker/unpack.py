# SPDX-License-Identifier: Apache-2.0
"""Archives that a copy unpacks: tar, plain or compressed with gzip, bzip2, xz or zstd.

Source of behaviour: Dockerfile reference, ``ADD``: what a file is, is decided by its content, not by its name. The
archive is unpacked as if its destination were the root: no member leaves it, links and ``..`` included. What is in the
way is replaced, except that directories merge. Memory stays small, whatever the archive claims.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, cast

from worker.base import CancelToken, FileOpError
from worker.content.tarread import Entry, TarError, TarReader, check_depth
from worker.tree import join, portable, relative
from worker.writable import WritableRoot, is_about_storage

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_HEAD = 512
_XZ_MEMORY = 512 << 20  # bytes; xz -9 needs 65 MiB
_PIECE = 1 << 16
_TRAILING = 1024  # pieces read behind the end of a tar
_GARBAGE = re.compile("Not a gzipped file|Input format not supported|Unknown frame descriptor")
"""What decompressors say of what is none of theirs, and so of garbage behind their content."""

_DEVICES = {b"3": stat.S_IFCHR, b"4": stat.S_IFBLK}


def open_gzip(file: IO[bytes]) -> IO[bytes]:
    """Decompress gzip."""
    from isal import igzip

    return cast("IO[bytes]", igzip.IGzipFile(fileobj=file, mode="rb"))  # type: ignore[no-untyped-call]


def open_bzip2(file: IO[bytes]) -> IO[bytes]:
    """Decompress bzip2."""
    import bz2

    return bz2.BZ2File(file)


def open_xz(file: IO[bytes]) -> IO[bytes]:
    """Decompress xz; a dictionary may ask for memory without bounds, so there is one."""
    return cast("IO[bytes]", _Xz(file))


def open_zstd(file: IO[bytes]) -> IO[bytes]:
    """Decompress zstd."""
    import zstandard

    reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False)
    return io.BufferedReader(cast("io.RawIOBase", reader))


_FORMATS: Mapping[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b\x08": open_gzip,
    b"BZh": open_bzip2,
    b"\xfd7zXZ\x00": open_xz,
    b"\x28\xb5\x2f\xfd": open_zstd,
}


def decompressor_of(head: bytes) -> Callable[[IO[bytes]], IO[bytes]] | None:
    """Return what decompresses a file that begins with ``head``; None if it is not compressed."""
    return next((use for magic, use in _FORMATS.items() if head.startswith(magic)), None)


class _Xz(io.RawIOBase):
    """The content of an xz file, of all its streams."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self._begin()

    def _begin(self) -> None:
        import lzma

        self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        with memoryview(buffer).cast("B") as view:
            while True:
                if self._stream.eof:
                    rest = (self._stream.unused_data or self._file.read(_PIECE)).lstrip(b"\0")
                    if not rest:
                        return 0
                    self._begin()
                elif self._stream.needs_input:
                    rest = self._file.read(_PIECE)
                    if not rest:
                        raise EOFError("the stream is cut off")
                else:
                    rest = b""
                data = self._stream.decompress(rest, len(view))
                if data:
                    view[: len(data)] = data
                    return len(data)


def is_archive(path: str) -> bool:
    """Tell whether a regular file is a tar archive, looking at its first member."""
    try:
        with _opened(path) as (reader, _):
            return next(iter(reader), None) is not None
    except (OSError, TarError):
        return False


def unpack(path: str, base: str, token: CancelToken) -> None:
    """Unpack the archive at host path ``path`` into the directory ``base``.

    Raises:
        FileOpError: it is damaged, or holds what cannot be.
    """
    name = os.path.basename(path)
    try:
        with _opened(path) as (reader, finish):
            _Unpacker(reader, base, token, name).run()
            finish()
    except TarError as error:
        raise FileOpError(
            f"{name}: damaged archive: {error}", help="make the archive again, or fetch it anew"
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
        failures = decompression_errors()
        stream = decompress(file)

        def read(size: int) -> bytes:
            try:
                return stream.read(size)
            except failures as error:
                raise TarError(str(error)) from error
            except OSError as error:
                if error.errno is None:  # bzip2's way to say what is damaged
                    raise TarError(str(error)) from error
                raise

        def finish() -> None:
            for _ in range(_TRAILING):
                try:
                    if not read(_PIECE):
                        return
                except TarError as error:
                    if not isinstance(error.__cause__, EOFError) and not _GARBAGE.search(str(error)):
                        raise
                    return  # BuildKit, too, takes an archive that is whole but for what follows it

        yield TarReader(read), finish


def decompression_errors() -> tuple[type[Exception], ...]:
    """Return what the decompressors raise of damaged content, beside an OSError without a number."""
    import lzma
    import zlib
    from gzip import BadGzipFile

    import zstandard
    from isal import isal_zlib

    isal = cast("type[Exception]", isal_zlib.error)
    return (EOFError, ValueError, BadGzipFile, isal, zlib.error, lzma.LZMAError, zstandard.ZstdError)


class _Unpacker:
    """One archive into one directory."""

    def __init__(self, reader: TarReader, base: str, token: CancelToken, name: str) -> None:
        self._reader, self._token, self._name = reader, token, name
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
                    help="make the archive without this member",
                ) from error
        for where, member in self._directories:
            # A directory that was removed again may have left its place to a link that leads out.
            if not self._removed or (self._root.is_directory(where) and self._root.resolve(where) == where):
                self._set_times(where, member)

    def _one(self, member: Entry) -> None:
        path = relative(member.name)
        check_depth(self._root.full(path))
        folder, _, name = path.rpartition("/")
        where = join(self._folder(folder), name)
        full = self._root.full(where)
        check_depth(full)
        if not where:
            if member.kind == b"5":
                self._directories.append((where, member))
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
            case b"0" | b"7":
                self._write(full, member)
            case b"2":
                os.symlink(member.target, full)
            case b"1":
                target = self._root.resolve(relative(member.target), last=False)
                os.link(self._root.full(target), full, follow_symlinks=False)
                return
            case b"3" | b"4":
                os.mknod(full, _DEVICES[member.kind] | 0o600, os.makedev(member.major, member.minor))
            case b"6":
                os.mkfifo(full)
            case _:
                return
        self._set_metadata(where, full, member)

    def _write(self, full: str, member: Entry) -> None:
        fd = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            self._reader.write_to(fd, member, self._token.check)
        finally:
            os.close(fd)

    def _set_metadata(self, where: str, full: str, member: Entry) -> None:
        os.lchown(full, member.uid, member.gid)
        if member.kind != b"2":
            os.chmod(full, member.mode)
        for name, value in member.xattrs.items():
            if portable(name):
                try:
                    os.setxattr(full, name, value, follow_symlinks=False)
                except OSError as error:
                    if error.errno != errno.ENOTSUP or name == "security.capability":
                        raise TarError(f"cannot set the attribute {name[:80]}: {error.strerror}") from error
        if member.kind != b"5":
            self._set_times(where, member)

    def _set_times(self, where: str, member: Entry) -> None:
        os.utime(self._root.full(where), ns=(member.mtime_ns, member.mtime_ns), follow_symlinks=False)
