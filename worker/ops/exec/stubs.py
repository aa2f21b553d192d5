# SPDX-License-Identifier: Apache-2.0
"""Mount points in a step's root: created where missing, and removed afterwards without a trace.

A mount needs something to sit on. What is made for that purpose is not the step's doing, so it must not end up in the
result, nor may the times of the directories around it change (the exported layer would differ at every build).
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from llbkit.worker.fs.rootpath import resolve


class Stubs:
    """The mount points made in one root. With ``recursive``, made parents are removed as well."""

    def __init__(self, root: Path, *, recursive: bool) -> None:
        self._root = root
        self._recursive = recursive
        self._made: list[Path] = []

    def add(self, path: str, *, directory: bool, mode: int = 0o755) -> Path:
        """Make sure that ``path`` exists below the root, as a directory or an empty file; return where that is.

        ``mode`` is that of a directory which is made.

        Raises:
            OSError: a component on the way is a file, there are too many links, or the root is full.
        """
        target = resolve(self._root, path)
        if os.path.lexists(target):
            return target
        missing = [target]
        while not os.path.lexists(missing[-1].parent):
            missing.append(missing[-1].parent)
        with _keeping_times(missing[-1].parent):
            for parent in reversed(missing[1:]):
                _make_directory(parent)
            if directory:
                _make_directory(target, mode)
            else:
                target.touch()
                target.chmod(0o644)
        self._made += reversed(missing if self._recursive else missing[:1])
        return target

    def remove(self) -> None:
        """Remove what was made and is still empty, innermost first. The step must have ended.

        The step may have moved a directory away and put a link, to anywhere, in its place: nothing behind links is ours.
        """
        for path in sorted(self._made, key=lambda made: len(made.parts), reverse=True):
            with contextlib.suppress(OSError):
                if resolve(self._root, f"{path.parent.relative_to(self._root)}") != path.parent:
                    continue
                status = path.lstat()
                if not stat.S_ISDIR(status.st_mode) and status.st_size:
                    continue
                with _keeping_times(path.parent):
                    if stat.S_ISDIR(status.st_mode):
                        path.rmdir()
                    else:
                        path.unlink()
        self._made.clear()


def _make_directory(path: Path, mode: int = 0o755) -> None:
    """Make a directory whose mode the process's umask has no say in."""
    path.mkdir()
    path.chmod(mode)


@contextlib.contextmanager
def _keeping_times(directory: Path) -> Iterator[None]:
    status = directory.stat()
    try:
        yield
    finally:
        os.utime(directory, ns=(status.st_atime_ns, status.st_mtime_ns))
