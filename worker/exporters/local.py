# SPDX-License-Identifier: Apache-2.0
"""``type=local``: the result's files in a directory of the user.

Nothing is written outside the destination, whatever links it holds: every step goes through a directory descriptor and
never follows a link. Files get the result's modes, times (with SOURCE_DATE_EPOCH that time, as in BuildKit) and extended
attributes, and belong to whoever runs the build.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from dataclasses import field
from pathlib import Path
from typing import NamedTuple

from llbkit.records import dataclass
from llbkit.worker.archive.tarwrite import link_below
from llbkit.worker.base import StorageError
from llbkit.worker.exporters.base import (
    Attrs,
    Epochs,
    ExportError,
    ExportRequest,
    Run,
    files_options,
    platform_dir,
)
from llbkit.worker.exporters.image.merged import prune, sources, union
from llbkit.worker.fs.bytescopy import BytesCopier
from llbkit.worker.fs.descent import Descent, remove_tree
from llbkit.worker.fs.tree import portable

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def read(request: ExportRequest) -> tuple[str, bool, Epochs]:
    """Return the mode, whether platforms get directories of their own, and the times of their files.

    Raises:
        ExportError: an attribute is unknown or wrong.
    """
    attrs = Attrs(request.attrs)
    mode = attrs.choice("mode", ("copy", "delete"), "copy")
    return mode, *files_options(request, attrs)


def export(request: ExportRequest, run: Run) -> dict[str, str]:
    """Write the files and return the (empty) response.

    Raises:
        WorkerError: an attribute is wrong, or the directory cannot be written.
    """
    mode, split, epochs = read(request)
    if request.dest is None:
        raise ExportError("type=local requires a directory", help="add dest=DIR")
    merged = not split and len(request.results) > 1
    writer = _Writer(run, None, delete=mode == "delete" and not merged)
    try:
        request.dest.mkdir(parents=True, exist_ok=True)
        root = os.open(request.dest, _DIRECTORY & ~os.O_NOFOLLOW)
    except OSError as error:
        raise _failed(request.dest, error) from error
    run.report("copying", "copying files", 0, 0, False)
    try:
        with sources(request, run) as found:
            wanted = union(found, run.cancel) if merged else frozenset()
            for result, (_, source) in zip(request.results, found, strict=True):
                epoch = epochs.of(result.id)
                writer.time = None if epoch is None else epoch * 1_000_000_000
                if split:
                    writer.fill_below(root, platform_dir(result.platform), source)
                else:
                    writer.fill(source, root)
                    writer.prune(root, set(os.listdir(source)))
        if split:
            writer.prune(root, {platform_dir(result.platform) for result in request.results})
        if merged and mode == "delete":
            prune(root, wanted)
    except OSError as error:
        raise _failed(request.dest, error) from error
    finally:
        os.close(root)
    run.report("copying", "copying files", writer.written, writer.written, True)
    return {}


def _failed(path: Path, error: OSError) -> StorageError:
    where = f" ({error.filename})" if error.filename else ""
    return StorageError(
        f"cannot write to {path}{where}: {error.strerror or error}",
        help="check the path, its permissions and free space",
    )


@dataclass(slots=True)
class _Place:
    """Where the copying is: a directory of the result, its place in the destination, its path below the top."""

    top: int
    come: Descent
    go: Descent
    path: list[str] = field(default_factory=list)

    def down(self, name: str) -> None:
        self.come.down(name)
        self.go.down(name)
        self.path.append(name)

    def up(self) -> None:
        self.come.up()
        self.go.up()
        self.path.pop()


class _First(NamedTuple):
    """The first name that a file with several names got: its path below the top, and the file it is."""

    path: str
    file: tuple[int, int]


@dataclass(slots=True)
class _Writer:
    run: Run
    time: int | None
    delete: bool
    written: int = 0
    below: str = ""  # the directory of the platform that is written
    _bytes: BytesCopier = field(init=False)
    _links: dict[tuple[int, int], _First] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._bytes = BytesCopier(self.run.cancel.check)

    def fill(self, source: Path, target: int) -> None:
        """Copy what is in ``source`` into the open directory ``target``."""
        self._links.clear()
        come = Descent(os.open(source, _DIRECTORY))
        try:
            go = Descent(os.dup(target))
            try:
                self._walk(_Place(target, come, go))
            finally:
                go.close()
        finally:
            come.close()

    def fill_below(self, parent: int, name: str, source: Path) -> None:
        """Fill a platform's directory, which carries no time of its own: the epoch, or 1970."""
        below = self.directory(parent, name)
        self.below = name
        try:
            self.fill(source, below)
            self.prune(below, set(os.listdir(source)))
            os.utime(below, ns=(self.time or 0, self.time or 0))
        finally:
            os.close(below)

    def _walk(self, place: _Place) -> None:
        above: list[tuple[list[str], os.stat_result]] = []
        names = _names(place.come.directory)
        while names or above:
            self.run.cancel.check()
            if not names:
                names, status = above.pop()
                self._finish(place, status)
                place.up()
                continue
            name = names.pop()
            status = os.stat(name, dir_fd=place.come.directory, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                self._entry(place, name, status)
                continue
            os.close(self.directory(place.go.directory, name))
            place.down(name)
            above.append((names, status))
            names = _names(place.come.directory)
            self.prune(place.go.directory, set(names))

    def _entry(self, place: _Place, name: str, status: os.stat_result) -> None:
        kind, go = stat.S_IFMT(status.st_mode), place.go.directory
        first = self._links.get((status.st_dev, status.st_ino))
        temporary = f".llbkit-{secrets.token_hex(6)}"
        try:
            linked = first is not None and _link(place, first, temporary)
            if not linked and not self._make(kind, place.come.directory, go, name, temporary, status):
                return
            if not linked and kind == stat.S_IFREG and status.st_nlink > 1:
                made = os.stat(temporary, dir_fd=go, follow_symlinks=False)
                path = "/".join((*place.path, name))
                self._links[status.st_dev, status.st_ino] = _First(path, (made.st_dev, made.st_ino))
            self._replace(go, temporary, name)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=go)
            raise

    def _make(self, kind: int, come: int, go: int, name: str, temporary: str, status: os.stat_result) -> bool:
        if kind == stat.S_IFREG:
            self._copy(come, go, name, temporary, status)
            return True
        if kind == stat.S_IFLNK:
            target = link_below(os.readlink(name, dir_fd=come), self.below)
            os.symlink(target, temporary, dir_fd=go)
        elif kind == stat.S_IFIFO:
            os.mkfifo(temporary, stat.S_IMODE(status.st_mode), dir_fd=go)
        elif kind in (stat.S_IFCHR, stat.S_IFBLK) and os.geteuid() == 0:
            os.mknod(temporary, status.st_mode, status.st_rdev, dir_fd=go)
        else:
            return False  # sockets mean nothing without their process; devices need root
        if kind != stat.S_IFLNK:
            os.chmod(temporary, stat.S_IMODE(status.st_mode), dir_fd=go)  # the umask took its part
        os.utime(temporary, ns=self._times(status), dir_fd=go, follow_symlinks=False)
        return True

    def _copy(self, come: int, go: int, name: str, temporary: str, status: os.stat_result) -> None:
        reading = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=come)
        with os.fdopen(reading, "rb", buffering=0):
            made = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=go)
            with os.fdopen(made, "wb", buffering=0):
                self._bytes.copy(reading, made)
                _copy_xattrs(reading, made)
                os.fchmod(made, stat.S_IMODE(status.st_mode))
                os.utime(made, ns=self._times(status))
        self.written += status.st_size

    def _replace(self, go: int, temporary: str, name: str) -> None:
        try:
            os.rename(temporary, name, src_dir_fd=go, dst_dir_fd=go)
        except IsADirectoryError:
            remove_tree(name, dir_fd=go)
            os.rename(temporary, name, src_dir_fd=go, dst_dir_fd=go)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=go)  # renaming onto a link of the same file leaves both

    def directory(self, parent: int, name: str) -> int:
        """Open a directory in ``parent``, made if missing; what is not a directory is replaced."""
        try:
            return os.open(name, _DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            pass
        except OSError:
            os.unlink(name, dir_fd=parent)
        os.mkdir(name, 0o755, dir_fd=parent)
        return os.open(name, _DIRECTORY, dir_fd=parent)

    def prune(self, directory: int, wanted: set[str]) -> None:
        """In mode delete, remove what the result does not have."""
        if not self.delete:
            return
        for name in sorted(set(os.listdir(directory)) - wanted):
            remove_tree(name, dir_fd=directory)

    def _finish(self, place: _Place, status: os.stat_result) -> None:
        directory = place.go.directory
        _copy_xattrs(place.come.directory, directory)
        os.fchmod(directory, stat.S_IMODE(status.st_mode))
        os.utime(directory, ns=self._times(status))

    def _times(self, status: os.stat_result) -> tuple[int, int]:
        time = status.st_mtime_ns if self.time is None else self.time
        return time, time


def _names(directory: int) -> list[str]:
    """Return a directory's names, the first at the end, from where they are taken."""
    return sorted(os.listdir(directory), reverse=True)


def _link(place: _Place, first: _First, temporary: str) -> bool:
    """Give a file a further name; False if the destination cannot hold one, or its first name is not ours any more."""
    go = place.go.directory
    try:
        os.link(first.path, temporary, src_dir_fd=place.top, dst_dir_fd=go, follow_symlinks=False)
    except OSError:
        return False  # a file system without hard links, or too many names: a copy is equivalent
    made = os.stat(temporary, dir_fd=go, follow_symlinks=False)
    if (made.st_dev, made.st_ino) == first.file:
        return True
    os.unlink(temporary, dir_fd=go)
    return False


def _copy_xattrs(source: int, target: int) -> None:
    """Copy the attributes that mean the same elsewhere; what the destination refuses is dropped, as BuildKit does."""
    for name in filter(portable, os.listxattr(source)):
        with contextlib.suppress(OSError):
            os.setxattr(target, name, os.getxattr(source, name))
