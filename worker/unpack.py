# SPDX-License-Identifier: Apache-2.0
"""Archives that a copy unpacks: tar, plain or compressed with gzip, bzip2, xz or zstd.

Source of behaviour: Dockerfile reference, ``ADD``: what a file is, is decided by its content, not by its name. The
archive is unpacked as if its destination were the root: no member leaves it, links and ``..`` included. What is in the
way is replaced, except that directories merge.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, cast

from worker.base import CancelToken, FileOpError
from worker.tree import portable, relative
from worker.writable import WritableRoot

if TYPE_CHECKING:
    from collections.abc import Iterator

_XATTR = "SCHILY.xattr."
_HEAD = 512
_CHUNK = 1 << 20


def open_gzip(file: IO[bytes]) -> IO[bytes]:
    """Decompress gzip."""
    from isal import igzip

    return cast("IO[bytes]", igzip.IGzipFile(fileobj=file, mode="rb"))  # type: ignore[no-untyped-call]


def open_bzip2(file: IO[bytes]) -> IO[bytes]:
    """Decompress bzip2."""
    import bz2

    return bz2.BZ2File(file)


def open_xz(file: IO[bytes]) -> IO[bytes]:
    """Decompress xz."""
    import lzma

    return cast("IO[bytes]", lzma.LZMAFile(file))


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


def is_archive(path: str) -> bool:
    """Tell whether a regular file is a tar archive, looking at its first member."""
    try:
        with _opened(path) as archive:
            return archive is not None and next(iter(archive), None) is not None
    except (OSError, EOFError, tarfile.TarError, ValueError):
        return False


def unpack(path: str, base: str, token: CancelToken) -> None:
    """Unpack the archive at host path ``path`` into the directory ``base``.

    Raises:
        FileOpError: it is damaged.
    """
    name = os.path.basename(path)
    try:
        with _opened(path) as archive:
            if archive is None:
                raise FileOpError(f"{name}: not a tar archive", help="check the file")
            _Unpacker(archive, base, token).run()
    except (EOFError, tarfile.TarError, ValueError) as error:
        raise FileOpError(
            f"{name}: damaged archive: {error}", help="make the archive again, or fetch it anew"
        ) from error


@contextmanager
def _opened(path: str) -> Iterator[tarfile.TarFile | None]:
    with open(path, "rb") as file:
        head = file.read(_HEAD)
        file.seek(0)
        decompress = decompressor_of(head)
        stream = decompress(file) if decompress is not None else file
        try:
            with tarfile.open(
                fileobj=stream, mode="r|", errors="surrogateescape", encoding="utf-8"
            ) as archive:
                yield archive
        except tarfile.ReadError as error:
            if "file could not be opened" in str(error) or "empty file" in str(error):
                yield None
            else:
                raise
        except decompression_errors() as error:
            raise tarfile.ReadError(str(error)) from error


def decompression_errors() -> tuple[type[Exception], ...]:
    """Return what the decompressors raise beside EOFError and OSError."""
    import lzma
    import zlib

    import zstandard

    return (zlib.error, lzma.LZMAError, zstandard.ZstdError)


class _Unpacker:
    """One archive into one directory."""

    def __init__(self, archive: tarfile.TarFile, base: str, token: CancelToken) -> None:
        self._archive, self._token = archive, token
        self._root = WritableRoot(base)
        self._directories: list[tuple[str, tarfile.TarInfo]] = []

    def run(self) -> None:
        for member in self._archive:
            self._token.check()
            path = relative(member.name)
            where = self._root.resolve(path, last=False)
            if not where:
                if member.isdir():
                    self._directories.append((where, member))
                continue
            self._root.make_directories(where.rpartition("/")[0], 0o755, None, -1)
            self._clear(where, member)
            self._make(where, member)
        for where, member in reversed(self._directories):
            self._set_times(where, member)

    def _clear(self, where: str, member: tarfile.TarInfo) -> None:
        existing = self._root.lstat(where)
        if existing is not None and not (member.isdir() and stat.S_ISDIR(existing.st_mode)):
            self._root.remove(where)

    def _make(self, where: str, member: tarfile.TarInfo) -> None:
        full = self._root.full(where)
        if member.isdir():
            if self._root.lstat(where) is None:
                os.mkdir(full)
            self._directories.append((where, member))
        elif member.isreg():
            self._write(full, member)
        elif member.issym():
            os.symlink(member.linkname, full)
        elif member.islnk():
            target = self._root.resolve(relative(member.linkname), last=False)
            os.link(self._root.full(target), full, follow_symlinks=False)
            return
        elif member.ischr() or member.isblk():
            kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
            os.mknod(full, kind | 0o600, os.makedev(member.devmajor, member.devminor))
        elif member.isfifo():
            os.mkfifo(full)
        else:
            return
        self._set_metadata(where, full, member)

    def _write(self, full: str, member: tarfile.TarInfo) -> None:
        source = self._archive.extractfile(member)
        fd = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "wb", buffering=0) as file:
            while source is not None and (chunk := source.read(_CHUNK)):
                self._token.check()
                file.write(chunk)

    def _set_metadata(self, where: str, full: str, member: tarfile.TarInfo) -> None:
        os.lchown(full, member.uid, member.gid)
        if not member.issym():
            os.chmod(full, member.mode & 0o7777)
        for key, value in member.pax_headers.items():
            name = key.removeprefix(_XATTR)
            if name != key and portable(name):
                data = value.encode("utf-8", "surrogateescape")
                os.setxattr(full, name, data, follow_symlinks=False)
        if not member.isdir():
            self._set_times(where, member)

    def _set_times(self, where: str, member: tarfile.TarInfo) -> None:
        mtime = int(member.mtime * 1_000_000_000)
        os.utime(self._root.full(where), ns=(mtime, mtime), follow_symlinks=False)
