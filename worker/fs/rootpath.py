# SPDX-License-Identifier: Apache-2.0
"""Resolve paths inside a root filesystem, without ever escaping it through symbolic links."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

PATH_MAX = 4096
"""Bytes of the longest path, with the final zero byte, in Linux."""

_MAX_LINKS = 255


def follow(root: str, path: str, *, last: bool = True) -> str:
    """Return the link-free path, relative to ``root``, that ``path`` means with ``root`` as ``/``.

    Components that do not exist are kept as written, so the result may be created. ``..`` stops at ``root``. ``last`` says
    whether the last component is followed too.

    Raises:
        OSError: ELOOP if more than 255 links are followed, ENAMETOOLONG if the kernel would not take the path.
    """
    if len(path) >= PATH_MAX:
        raise too_long(path)
    pending = path.split("/")[::-1]
    done: list[str] = []
    links = 0
    while pending:
        name = pending.pop()
        if name in ("", "."):
            continue
        if name == "..":
            if done:
                done.pop()
            continue
        done.append(name)
        if not last and not any(pending):
            break
        try:
            target = os.readlink(os.path.join(root, *done))
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise too_long(path) from error
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        done.pop()
        if target.startswith("/"):
            done.clear()
        pending.extend(target.split("/")[::-1])
    return "/".join(done)


def too_long(path: str) -> OSError:
    """Return the error for a path that no system call takes."""
    return OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), f"{path[:40]}...")


def resolve(root: Path, path: str) -> Path:
    """Return where ``path`` is below ``root``, every link followed (`follow`).

    Raises:
        OSError: ELOOP if more than 255 links are followed.
    """
    return root / follow(os.fspath(root), path)


def read_file(root: Path, path: str, *, limit: int = 16 << 20) -> bytes | None:
    """Return the first ``limit`` bytes of a regular file below ``root``; None if there is none."""
    try:
        fd = os.open(resolve(root, path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    with open(fd, "rb") as file:
        return file.read(limit)


def make_directories(root: Path, path: str, *, uid: int = 0, gid: int = 0, mode: int = 0o755) -> None:
    """Create ``path`` below ``root`` with its parents; only what is created gets the owner and the mode.

    Raises:
        OSError: NotADirectoryError if a component is a file, or what creating a directory raises.
    """
    target = resolve(root, path)
    missing: list[Path] = []
    while target != root and not target.is_dir():
        missing.append(target)
        target = target.parent
    for directory in reversed(missing):
        directory.mkdir()
        os.chown(directory, uid, gid)
        directory.chmod(mode)
