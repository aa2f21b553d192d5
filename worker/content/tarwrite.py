# SPDX-License-Identifier: Apache-2.0
"""A layer directory as a tar stream: the same bytes for the same files, wherever and whenever it is made.

Entries are sorted by path; owner names, access and change times are left out; modification times are whole seconds.
Whiteouts take their OCI form (image-spec, layer.md). Plain entries are written by hand, in the ustar format; what needs
PAX records goes through `tarfile`.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

_BLOCK = 512
_CHUNK = 1 << 20
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_SMALL = 0o7777777


def write_layer(root: Path, write: Callable[[bytes], object], *, clamp: int | None = None) -> None:
    """Write the tar of a layer directory. ``clamp`` is the latest modification time, in seconds since 1970."""
    links: dict[tuple[int, int], str] = {}
    for path, full, status in _entries(os.fspath(root)):
        mtime = int(status.st_mtime_ns // 1_000_000_000)
        if clamp is not None and mtime > clamp:
            mtime = clamp
        _entry(path, full, status, mtime, links, write)
    write(b"\0" * (2 * _BLOCK))


def _entries(root: str) -> Iterator[tuple[str, str, os.stat_result]]:
    """Yield (path, full path, status) below a directory, in the order of the paths' components."""
    pending: list[tuple[str, str, os.stat_result]] = _children("", root)
    while pending:
        item = pending.pop()
        yield item
        if stat.S_ISDIR(item[2].st_mode):
            pending += _children(item[0], item[1])


def _children(path: str, full: str) -> list[tuple[str, str, os.stat_result]]:
    prefix = f"{path}/" if path else ""
    with os.scandir(full) as entries:
        found = [(prefix + entry.name, entry.path, entry.stat(follow_symlinks=False)) for entry in entries]
    return sorted(found, key=lambda item: os.fsencode(item[0]), reverse=True)


def _entry(
    path: str,
    full: str,
    status: os.stat_result,
    mtime: int,
    links: dict[tuple[int, int], str],
    write: Callable[[bytes], object],
) -> None:
    mode = status.st_mode
    if stat.S_ISCHR(mode) and status.st_rdev == 0:
        folder, _, name = path.rpartition("/")
        gone = f"{folder}/.wh.{name}" if folder else f".wh.{name}"
        write(_header(gone, 0o600, 0, 0, 0, mtime, b"0", "", {}))
        return
    if stat.S_ISREG(mode) and status.st_nlink > 1:
        key = (status.st_dev, status.st_ino)
        if key in links:
            write(
                _header(
                    path, stat.S_IMODE(mode), status.st_uid, status.st_gid, 0, mtime, b"1", links[key], {}
                )
            )
            return
        links[key] = path
    xattrs, opaque = _xattrs(full, mode)
    kind, size, target = _kind(full, status)
    device = status.st_rdev if kind in (b"3", b"4") else None
    name = path + "/" if kind == b"5" else path
    write(
        _header(
            name, stat.S_IMODE(mode), status.st_uid, status.st_gid, size, mtime, kind, target, xattrs, device
        )
    )
    if opaque:
        write(_header(f"{path}/.wh..wh..opq", 0o600, 0, 0, 0, mtime, b"0", "", {}))
    if size:
        _content(full, size, write)


def _kind(full: str, status: os.stat_result) -> tuple[bytes, int, str]:
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return b"0", status.st_size, ""
    if stat.S_ISDIR(mode):
        return b"5", 0, ""
    if stat.S_ISLNK(mode):
        return b"2", 0, os.readlink(full)
    if stat.S_ISCHR(mode):
        return b"3", 0, ""
    if stat.S_ISBLK(mode):
        return b"4", 0, ""
    return b"6", 0, ""


def _xattrs(full: str, mode: int) -> tuple[dict[str, bytes], bool]:
    """Return the extended attributes that belong to the image, and whether a directory is opaque."""
    try:
        names = os.listxattr(full, follow_symlinks=False)
    except OSError:
        return {}, False
    if not names:
        return {}, False
    opaque = stat.S_ISDIR(mode) and any(name in names for name in _OPAQUE)
    kept = {
        name: os.getxattr(full, name, follow_symlinks=False)
        for name in sorted(names)
        if (name.startswith("user.") and not name.startswith("user.overlay."))
        or name == "security.capability"
    }
    return kept, opaque


def _content(full: str, size: int, write: Callable[[bytes], object]) -> None:
    left = size
    descriptor = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while left:
            data = os.read(descriptor, min(left, _CHUNK))
            if not data:
                raise OSError(f"{full} became shorter while it was read")
            write(data)
            left -= len(data)
    finally:
        os.close(descriptor)
    if size % _BLOCK:
        write(b"\0" * (_BLOCK - size % _BLOCK))


def _header(
    name: str,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    kind: bytes,
    target: str,
    xattrs: dict[str, bytes],
    device: int | None = None,
) -> bytes:
    raw, link = os.fsencode(name), os.fsencode(target)
    plain = (
        len(raw) <= 100 and len(link) <= 100 and raw.isascii() and link.isascii() and max(uid, gid) <= _SMALL
        and size < 1 << 33 and 0 <= mtime < 1 << 33 and not xattrs and device is None
    )  # fmt: skip
    if not plain:
        return _pax(name, mode, uid, gid, size, mtime, kind, target, xattrs, device)
    block = bytearray(_BLOCK)
    block[0 : len(raw)] = raw
    block[100:148] = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, size, mtime)
    block[148:156] = b"        "
    block[156:157] = kind
    block[157 : 157 + len(link)] = link
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _pax(
    name: str,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    kind: bytes,
    target: str,
    xattrs: dict[str, bytes],
    device: int | None,
) -> bytes:
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.gid, info.size, info.mtime = mode, uid, gid, size, mtime
    info.type, info.linkname = kind, target
    if device is not None:
        info.devmajor, info.devminor = os.major(device), os.minor(device)
    # PAX values are UTF-8; bytes that are not survive as they are through surrogates.
    info.pax_headers = {
        f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape") for key, value in xattrs.items()
    }
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
