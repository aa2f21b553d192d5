# SPDX-License-Identifier: Apache-2.0
"""Copy a file's bytes by the fastest method that the filesystems support, and compare files.

A reflink, else ``copy_file_range``, else reads and writes; of a sparse file its data ranges only.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable

_FICLONE = 0x40049409
_NO_CLONE = (errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY, errno.EPERM, errno.ETXTBSY)
_NO_RANGE = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EIO, errno.ETXTBSY)
_CHUNK = 1 << 20
_RANGE = 1 << 26


class BytesCopier:
    """Copies between two file systems, and remembers what they refused. Thread-safe.

    Args:
        check: called now and then; what it raises ends a copy.
    """

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        self._check = check
        self._clone = self._range = True

    def copy(self, source: int, out: int, status: os.stat_result | None = None) -> None:
        """Copy all of the regular file ``source`` to the empty regular file ``out``, both just opened.

        ``status`` is what is known of the source; None asks for it. No byte after its size is copied or looked for: whoever
        copies files that others may write to compares the status afterwards.

        Raises:
            OSError: a system call failed.
        """
        status = status or os.fstat(source)
        if not status.st_size or (self._clone and self._cloned(source, out)):
            return
        if status.st_blocks * 512 < status.st_size and status.st_size > _CHUNK:
            self._copy_sparse(source, out, status.st_size)
        else:
            self._copy_range(source, out, status.st_size)

    def _cloned(self, source: int, out: int) -> bool:
        try:
            fcntl.ioctl(out, _FICLONE, source)
        except OSError as error:
            if error.errno not in _NO_CLONE:
                raise
            self._clone = False
        return self._clone

    def _copy_sparse(self, source: int, out: int, size: int) -> None:
        end = 0
        while end < size:
            try:
                start = os.lseek(source, end, os.SEEK_DATA)
                end = os.lseek(source, start, os.SEEK_HOLE)
            except OSError as error:
                if error.errno != errno.ENXIO:  # ENXIO: nothing but a hole is left
                    raise
                break
            os.lseek(source, start, os.SEEK_SET)
            os.lseek(out, start, os.SEEK_SET)
            self._copy_range(source, out, end - start)
        os.ftruncate(out, size)

    def _copy_range(self, source: int, out: int, left: int) -> None:
        """Copy so many bytes, or what there is of them, from where ``source`` stands to where ``out`` does."""
        while self._range and left:
            self._check()
            try:
                copied = os.copy_file_range(source, out, min(left, _RANGE))
            except OSError as error:
                if error.errno not in _NO_RANGE:
                    raise
                self._range = False
                break
            if not copied:
                break  # at the end, or a file system that pretends to be: reading tells
            left -= copied
        while left and (chunk := os.read(source, min(left, _CHUNK))):
            self._check()
            left -= len(chunk)
            write_all(out, chunk)


def write_all(out: int, data: bytes) -> None:
    """Write all of ``data``, in as many calls as it takes. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(out, view) :]


def equal_content(left: str, right: str) -> bool:
    """Return whether two regular files of the same size hold the same bytes; common holes are not read.

    Raises:
        OSError: one cannot be read.
    """
    with open(left, "rb", buffering=0) as a, open(right, "rb", buffering=0) as b:
        position = 0
        while True:
            position = min(_next_data(a.fileno(), position), _next_data(b.fileno(), position))
            x, y = os.pread(a.fileno(), _CHUNK, position), os.pread(b.fileno(), _CHUNK, position)
            if x != y:
                return False
            if not x:
                return True
            position += len(x)


def _next_data(descriptor: int, position: int) -> int:
    """Return where the next bytes that are no hole begin; the size of the file if there are none."""
    try:
        return os.lseek(descriptor, position, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return os.lseek(descriptor, 0, os.SEEK_END)
        raise
