# SPDX-License-Identifier: Apache-2.0
"""``type=local``: the result's files in a directory of the user.

Nothing is written outside the destination, whatever links it holds: every step goes through a directory descriptor and
never follows a link. Files get the result's modes and times and belong to whoever runs the build.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path

from worker.base import StorageError
from worker.exporters.base import Attrs, ExportError, ExportRequest, Run, epoch, platform_dir

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def export(request: ExportRequest, run: Run) -> dict[str, str]:
    """Write the files and return the (empty) response.

    Raises:
        WorkerError: an attribute is wrong, or the directory cannot be written.
    """
    attrs = Attrs(request.attrs)
    mode = attrs.choice("mode", ("copy", "delete"), "copy")
    split = attrs.flag("platform-split", request.multi)
    clamp = epoch(request, attrs)
    attrs.text("attestation-prefix")
    for key in ("sbom", "provenance"):
        attrs.refuse(key)
    attrs.rest()
    if request.dest is None:
        raise ExportError("type=local needs a directory", help="add dest=DIR")
    writer = _Writer(run, None if clamp is None else clamp * 1_000_000_000, delete=mode == "delete")
    try:
        request.dest.mkdir(parents=True, exist_ok=True)
        root = os.open(request.dest, _DIRECTORY & ~os.O_NOFOLLOW)
    except OSError as error:
        raise _failed(request.dest, error) from error
    run.report("copying", "copying files", 0, 0, False)
    try:
        wanted: set[str] = set()
        for result in request.results:
            run.tools.layers.ensure(result.snapshot, run.cancel, run.report)
            with run.tools.snapshotter.view(result.snapshot) as source:
                if not split:
                    wanted |= set(os.listdir(source))
                    writer.fill(source, root)
                    continue
                name = platform_dir(result.platform)
                wanted.add(name)
                below = writer.directory(root, name)
                try:
                    writer.fill(source, below)
                    writer.prune(below, set(os.listdir(source)))
                finally:
                    os.close(below)
        writer.prune(root, wanted)
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
        help="check the path, the rights and the space",
    )


@dataclass(slots=True)
class _Writer:
    run: Run
    clamp: int | None
    delete: bool
    written: int = 0
    _links: dict[tuple[int, int], tuple[int, str]] = field(default_factory=dict)

    def fill(self, source: Path, target: int) -> None:
        """Copy what is in ``source`` into the open directory ``target``; depth is bounded by the stack kept here."""
        top = os.open(source, _DIRECTORY)
        stack = [(top, os.dup(target), sorted(os.listdir(top)), None)]
        stack_any: list[tuple[int, int, list[str], os.stat_result | None]] = list(stack)
        try:
            while stack_any:
                come, go, names, status = stack_any[-1]
                if not names:
                    stack_any.pop()
                    if status is not None:
                        self._finish(go, status)
                    os.close(come)
                    os.close(go)
                    continue
                self.run.cancel.check()
                self._entry(come, go, names.pop(0), stack_any)
        finally:
            for come, go, _, _ in stack_any:
                os.close(come)
                os.close(go)
            for handle, _ in self._links.values():
                os.close(handle)
            self._links.clear()

    def _entry(
        self, come: int, go: int, name: str, stack: list[tuple[int, int, list[str], os.stat_result | None]]
    ) -> None:
        status = os.stat(name, dir_fd=come, follow_symlinks=False)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            inner = os.open(name, _DIRECTORY, dir_fd=come)
            names = sorted(os.listdir(inner))
            outer = self.directory(go, name)
            self.prune(outer, set(names))
            stack.append((inner, outer, names, status))
            return
        first = self._links.get((status.st_dev, status.st_ino))
        temporary = f".llbkit-{secrets.token_hex(6)}"
        try:
            if first is not None:
                os.link(first[1], temporary, src_dir_fd=first[0], dst_dir_fd=go, follow_symlinks=False)
            elif not self._make(kind, come, go, name, temporary, status):
                return
            self._replace(go, temporary, name)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=go)
            raise
        if first is None and kind == stat.S_IFREG and status.st_nlink > 1:
            self._links[status.st_dev, status.st_ino] = (os.dup(go), name)

    def _make(self, kind: int, come: int, go: int, name: str, temporary: str, status: os.stat_result) -> bool:
        if kind == stat.S_IFREG:
            self._copy(come, go, name, temporary, status)
            return True
        if kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=come), temporary, dir_fd=go)
        elif kind == stat.S_IFIFO:
            os.mkfifo(temporary, stat.S_IMODE(status.st_mode), dir_fd=go)
        elif kind in (stat.S_IFCHR, stat.S_IFBLK) and os.geteuid() == 0:
            os.mknod(temporary, status.st_mode, status.st_rdev, dir_fd=go)
        else:
            return False  # sockets mean nothing without their process; devices need root
        os.utime(temporary, ns=self._times(status), dir_fd=go, follow_symlinks=False)
        return True

    def _copy(self, come: int, go: int, name: str, temporary: str, status: os.stat_result) -> None:
        reading = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=come)
        with os.fdopen(reading, "rb", buffering=0) as source:
            made = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=go)
            with os.fdopen(made, "wb", buffering=0) as target:
                shutil.copyfileobj(source, target, 1 << 20)
                os.fchmod(made, stat.S_IMODE(status.st_mode))
                os.utime(made, ns=self._times(status))
        self.written += status.st_size

    def _replace(self, go: int, temporary: str, name: str) -> None:
        try:
            os.rename(temporary, name, src_dir_fd=go, dst_dir_fd=go)
        except IsADirectoryError:
            shutil.rmtree(name, dir_fd=go)
            os.rename(temporary, name, src_dir_fd=go, dst_dir_fd=go)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=go)  # renaming onto a link of the same file leaves both

    def directory(self, parent: int, name: str) -> int:
        """Open a directory in ``parent``, made if missing; what is no directory is replaced."""
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
            if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                shutil.rmtree(name, dir_fd=directory)
            else:
                os.unlink(name, dir_fd=directory)

    def _finish(self, directory: int, status: os.stat_result) -> None:
        os.fchmod(directory, stat.S_IMODE(status.st_mode))
        os.utime(directory, ns=self._times(status))

    def _times(self, status: os.stat_result) -> tuple[int, int]:
        time = status.st_mtime_ns if self.clamp is None else min(status.st_mtime_ns, self.clamp)
        return time, time
