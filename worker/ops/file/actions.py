# SPDX-License-Identifier: Apache-2.0
"""The file actions that need no source: mkfile, mkdir, rm, symlink. Semantics are BuildKit's, action by action."""

from __future__ import annotations

import errno
import os
import stat

from llbkit.llb.ir.ops import MkDir, MkFile, Rm, Symlink
from llbkit.worker.base import FileOpError
from llbkit.worker.fs.owners import Owner
from llbkit.worker.fs.tree import DirectoryTree, expand, relative
from llbkit.worker.fs.writable import WritableRoot, set_owner, set_time


def make_file(root: WritableRoot, action: MkFile, owner: Owner | None) -> None:
    """Create a file, or overwrite one and keep its mode; a link at the end is followed inside the root.

    Raises:
        FileOpError: it is a directory, or its parent does not exist.
    """
    path = root.resolve(action.path)
    full = root.full(path)
    existing = root.lstat(path)
    if existing is not None and stat.S_ISDIR(existing.st_mode):
        raise FileOpError(
            f"mkfile /{path}: is a directory", help="remove the directory first, or choose another path"
        )
    mode = action.mode & 0o777
    try:
        fd = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except FileNotFoundError as error:
        raise _no_parent("mkfile", path) from error
    with open(fd, "wb") as file:
        file.write(action.data)
        if existing is None:
            os.fchmod(fd, mode)
    set_owner(full, owner)
    set_time(full, action.timestamp)


def make_directory(root: WritableRoot, action: MkDir, owner: Owner | None) -> None:
    """Create a directory; one that exists is left as it is.

    Raises:
        FileOpError: a file is in the way, or the parent does not exist and ``make_parents`` is off.
    """
    path = root.resolve(action.path)
    mode = action.mode & 0o777
    if action.make_parents:
        root.make_directories(path, mode, owner, action.timestamp)
        return
    if root.lstat(path) is not None:
        return
    parent = root.lstat(path.rpartition("/")[0])
    if parent is None or not stat.S_ISDIR(parent.st_mode):
        raise _no_parent("mkdir", path)
    root.make_directories(path, mode, owner, action.timestamp)


def remove(root: WritableRoot, action: Rm) -> None:
    """Remove what a path, or each path a wildcard matches, names; a link itself, not what it leads to.

    Raises:
        FileOpError: there is nothing and ``allow_not_found`` is off, or the path is the root.
    """
    if action.allow_wildcard:
        paths = expand(DirectoryTree(root.base), action.path, follow=False)
    else:
        paths = [relative(action.path)]
    for path in paths:
        if not path:
            raise FileOpError(
                f"rm {action.path}: cannot remove the root", help="remove a path below the root instead"
            )
        where = root.resolve(path, last=False)
        if root.lstat(where) is None and not action.allow_not_found:
            raise FileOpError(
                f"rm /{path}: no such file or directory", help="check the path or use allow_not_found"
            )
        root.remove(where)


def make_symlink(root: WritableRoot, action: Symlink, owner: Owner | None) -> None:
    """Create a symbolic link; its target is kept as written.

    Raises:
        FileOpError: something is already there, or the parent does not exist.
    """
    path = root.resolve(action.newpath, last=False)
    full = root.full(path)
    try:
        os.symlink(action.oldpath, full)
    except FileExistsError as error:
        raise FileOpError(
            f"symlink /{path}: already exists", help="remove it first, or choose another path"
        ) from error
    except FileNotFoundError as error:
        raise _no_parent("symlink", path) from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise FileOpError(f"symlink /{path}: bad target {action.oldpath!r}") from error
    set_owner(full, owner)
    set_time(full, action.timestamp)


def _no_parent(action: str, path: str) -> FileOpError:
    parent = path.rpartition("/")[0]
    return FileOpError(
        f"{action} /{path}: no such directory: /{parent}",
        help="create the directory first (mkdir with parents)",
    )
