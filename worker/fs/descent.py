# SPDX-License-Identifier: Apache-2.0
"""Walk directories of any depth by descriptor: one open at a time, no long paths, no recursion.

A build step may leave directories a thousand deep. What walks them by recursion, or keeps a descriptor for each level,
fails there, and a state directory that cannot be cleaned stays broken.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Descent:
    """An open directory that moves down into its children and up again. Links are never followed.

    Args:
        directory: a descriptor, which from now on belongs to the descent.
    """

    def __init__(self, directory: int) -> None:
        self.directory = directory
        self._above: list[os.stat_result] = []

    def down(self, name: str) -> None:
        """Move into the directory ``name``.

        Raises:
            NotADirectoryError: it is something else.
            OSError: it is not there, or cannot be opened.
        """
        inner = open_directory(name, self.directory)
        self._above.append(os.fstat(self.directory))
        self._move(inner)

    def up(self) -> None:
        """Move back to where `down` came from.

        Raises:
            OSError: somebody moved the directory elsewhere meanwhile.
        """
        outer = os.open("..", _DIRECTORY, dir_fd=self.directory)
        if not os.path.samestat(os.fstat(outer), self._above.pop()):
            os.close(outer)
            raise OSError(errno.EBUSY, "a directory was moved while it was being processed")
        self._move(outer)

    def _move(self, other: int) -> None:
        os.close(self.directory)
        self.directory = other

    def close(self) -> None:
        """Close the directory."""
        os.close(self.directory)


def open_directory(path: str | Path, dir_fd: int | None = None) -> int:
    """Open a directory, never through a link.

    Raises:
        NotADirectoryError: it is something else.
        OSError: it is not there, or cannot be opened.
    """
    try:
        return os.open(path, _DIRECTORY, dir_fd=dir_fd)
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link; Linux says ENOTDIR, others ELOOP
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(path)) from error
        raise


def remove_tree(path: str | Path, *, dir_fd: int | None = None) -> None:
    """Remove a file, or a directory and all below it, if it exists. Others may be removing it too.

    Raises:
        OSError: something cannot be removed.
    """
    while True:
        with contextlib.suppress(FileNotFoundError):
            _remove(path, dir_fd)
        try:
            os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return


def _remove(path: str | Path, dir_fd: int | None) -> None:
    try:
        descent = Descent(open_directory(path, dir_fd))
    except NotADirectoryError:
        os.unlink(path, dir_fd=dir_fd)
        return
    try:
        _empty(descent)
    finally:
        descent.close()
    os.rmdir(path, dir_fd=dir_fd)


def _empty(descent: Descent) -> None:
    above: list[list[str]] = []
    folders = _unlink_files(descent.directory)
    while folders or above:
        if folders:
            descent.down(folders[-1])
            above.append(folders)
            folders = _unlink_files(descent.directory)
        else:
            descent.up()
            folders = above.pop()
            os.rmdir(folders.pop(), dir_fd=descent.directory)


def _unlink_files(directory: int) -> list[str]:
    """Remove everything but directories, and return the names of the directories."""
    folders = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=directory)
    return folders
