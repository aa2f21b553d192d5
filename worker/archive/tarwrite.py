# SPDX-License-Identifier: Apache-2.0
"""A directory as a tar stream: the same bytes for the same files, wherever and whenever it is made.

Entries are sorted by path, whiteouts before their siblings; owner names, access and change times are left out;
modification times are whole seconds. Whiteouts take their OCI form (image-spec, layer.md). Entries are in the ustar
format, with PAX records for what it cannot say. Sockets have no place in a tar and are left out.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from llbkit.worker.archive.tarread import Entry
from llbkit.worker.base import WorkerError
from llbkit.worker.snapshot.overlayfs import OPAQUE, is_opaque, is_whiteout

_BLOCK = 512
_CHUNK = 1 << 20
_SMALL = 0o7777777  # largest owner id in ustar
_WHITEOUT = ".wh."
_LARGE = 1 << 33  # first size and time that it cannot


class WhiteoutNameError(WorkerError):
    """A file cannot be part of a layer: its name, ``.wh.x``, means that the layers below lose the file ``x``."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"/{path} cannot be stored in an image: a layer reads its name as a whiteout, which means that {path.rpartition('/')[2][4:] or 'nothing'} is deleted",
            help="rename or remove it, add it to .dockerignore, or use -o type=local or type=tar",
        )


def write_layer(root: Path, write: Callable[[bytes], object], *, clamp: int | None = None) -> None:
    """Write the tar of a layer directory. ``clamp`` is the latest modification time, in seconds since 1970.

    Raises:
        WhiteoutNameError: a file has a name that means the deletion of another one.
    """
    if is_opaque(os.fspath(root)):
        write(_header(".wh..wh..opq", 0, 0, 0, 0, 0, b"0", "", {}))
    write_tree(root, write, clamp=clamp, layer=True)
    write_end(write)


def write_tree(
    root: Path,
    write: Callable[[bytes], object],
    *,
    prefix: str = "",
    clamp: int | None = None,
    time: int | None = None,
    directories: set[str] | None = None,
    layer: bool = False,
) -> None:
    """Write the entries below a directory, under ``prefix`` ("" or a path), which gets an entry too; `write_end` ends.

    Absolute links lead to what is under ``prefix``.

    ``time`` is the modification time of everything, in seconds since 1970. ``directories`` holds the paths of those that
    the archive has already: they are left out, and those that are written are added. In a ``layer``, names of whiteouts are refused.
    """
    links: dict[tuple[int, int], str] = {}
    if prefix:
        write(_header(prefix + "/", 0o755, 0, 0, 0, time or 0, b"5", "", {}))
    for path, full, status in _entries(os.fspath(root), prefix):
        if directories is not None and stat.S_ISDIR(status.st_mode):
            if path in directories:
                continue
            directories.add(path)
        if layer and path.rpartition("/")[2].startswith(_WHITEOUT):
            raise WhiteoutNameError(path)
        mtime = int(status.st_mtime_ns // 1_000_000_000) if time is None else time
        if clamp is not None and mtime > clamp:
            mtime = clamp
        _entry(path, full, status, mtime, links, write, prefix)


def link_below(target: str, directory: str) -> str:
    """Return where an absolute link leads whose tree is put into a directory, ``linux_amd64``: into it, as in BuildKit.

    Other targets, and all of them if ``directory`` is "", stay as they are.
    """
    return posixpath.normpath(f"/{directory}{target}") if directory and target.startswith("/") else target


def entry_header(entry: Entry, mtime: int) -> bytes:
    """Return the header of an entry that was read, with another modification time in seconds since 1970."""
    device = os.makedev(entry.major, entry.minor) if entry.kind in (b"3", b"4") else None
    return _header(
        entry.name,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.size,
        mtime,
        entry.kind,
        entry.target,
        entry.xattrs,
        device,
    )


def padding(size: int) -> bytes:
    """Return what follows ``size`` bytes of content up to the next header."""
    return bytes(-size % _BLOCK)


def write_end(write: Callable[[bytes], object]) -> None:
    """Write what marks the end of an archive."""
    write(b"\0" * (2 * _BLOCK))


def _entries(root: str, prefix: str) -> Iterator[tuple[str, str, os.stat_result]]:
    """Yield (path, full path, status) below a directory, in the order of the paths' components."""
    pending: list[tuple[str, str, os.stat_result]] = _children(prefix, root)
    while pending:
        item = pending.pop()
        yield item
        if stat.S_ISDIR(item[2].st_mode):
            pending += _children(item[0], item[1])


def _children(path: str, full: str) -> list[tuple[str, str, os.stat_result]]:
    prefix = f"{path}/" if path else ""
    with os.scandir(full) as entries:
        found = [(prefix + entry.name, entry.path, entry.stat(follow_symlinks=False)) for entry in entries]
    return sorted(found, key=lambda item: (not is_whiteout(item[2]), os.fsencode(item[0])), reverse=True)


def _entry(
    path: str,
    full: str,
    status: os.stat_result,
    mtime: int,
    links: dict[tuple[int, int], str],
    write: Callable[[bytes], object],
    prefix: str,
) -> None:
    mode = status.st_mode
    if stat.S_ISSOCK(mode):
        return
    if is_whiteout(status):
        folder, _, name = path.rpartition("/")
        gone = f"{folder}/.wh.{name}" if folder else f".wh.{name}"
        write(_header(gone, 0, 0, 0, 0, 0, b"0", "", {}))
        return
    if not stat.S_ISDIR(mode) and status.st_nlink > 1:
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
    if kind == b"2":
        target = link_below(target, prefix)
    device = status.st_rdev if kind in (b"3", b"4") else None
    name = path + "/" if kind == b"5" else path
    write(
        _header(
            name, stat.S_IMODE(mode), status.st_uid, status.st_gid, size, mtime, kind, target, xattrs, device
        )
    )
    if opaque:
        write(_header(f"{path}/.wh..wh..opq", 0, 0, 0, 0, 0, b"0", "", {}))
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
    names = os.listxattr(full, follow_symlinks=False)
    if not names:
        return {}, False
    opaque = stat.S_ISDIR(mode) and any(name in names for name in OPAQUE)
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
                raise OSError(f"{full} shrank while it was being read")
            write(data)
            left -= len(data)
    finally:
        os.close(descriptor)
    write(padding(size))


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
    records: dict[bytes, bytes] = {}
    if len(raw) > 100 or not raw.isascii():
        records[b"path"] = raw
    if len(link) > 100 or not link.isascii():
        records[b"linkpath"] = link
    for key, number, fits in (
        (b"uid", uid, uid <= _SMALL),
        (b"gid", gid, gid <= _SMALL),
        (b"size", size, size < _LARGE),
        (b"mtime", mtime, 0 <= mtime < _LARGE),
    ):
        if not fits:
            records[key] = b"%d" % number
    for xattr, value in xattrs.items():
        records[b"SCHILY.xattr." + os.fsencode(xattr)] = value
    numbers = (
        mode,
        *(0 if key in records else n for key, n in ((b"uid", uid), (b"gid", gid), (b"size", size))),
    )
    block = _ustar(raw[:100], link[:100], numbers, 0 if b"mtime" in records else mtime, kind, device)
    return _pax(records) + block if records else block


def _ustar(
    name: bytes, link: bytes, numbers: tuple[int, ...], mtime: int, kind: bytes, device: int | None
) -> bytes:
    """Return a header block. ``numbers`` are mode, user, group and size."""
    block = bytearray(_BLOCK)
    block[0 : len(name)] = name
    block[100:148] = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (*numbers, mtime)
    block[148:156] = b"        "
    block[156:157] = kind
    block[157 : 157 + len(link)] = link
    block[257:265] = b"ustar\x0000"
    if device is not None:
        block[329:345] = b"%07o\0%07o\0" % (os.major(device), os.minor(device))
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _pax(records: dict[bytes, bytes]) -> bytes:
    """Return an extended header: a block and its records."""
    data = b"".join(_record(key, value) for key, value in records.items())
    block = _ustar(b"PaxHeaders", b"", (0o644, 0, 0, len(data)), 0, b"x", None)
    return block + data + bytes(-len(data) % _BLOCK)


def _record(key: bytes, value: bytes) -> bytes:
    """Return one record; its length counts its own digits."""
    rest = b" %s=%s\n" % (key, value)
    length = len(rest) + 1
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return b"%d%s" % (length, rest)
