# SPDX-License-Identifier: Apache-2.0
"""System calls missing from Python's standard library: mounting, mount namespaces, the type of a filesystem.

The only module that calls the C library.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC = 1, 2, 4, 8, 32, 4096, 16384
MS_SLAVE = 1 << 19
MNT_DETACH = 2
CLONE_FS, CLONE_NEWNS = 0x00000200, 0x00020000
# These numbers are the same on every architecture.
_MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 429, 430, 431, 432
_AT_FDCWD = -100
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
_CLOEXEC = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_PAGE = 4096
_STATFS_SIZE = 512  # more than any architecture's struct statfs
OVERLAY_LIMIT = 500
"""Layers that overlayfs stacks at most."""
# Layers are used in other stacks later: nothing in them may depend on this one.
_OPTIONS = ((b"redirect_dir", b"off"), (b"metacopy", b"off"), (b"index", b"off"), (b"xino", b"off"))


def mount(source: str, target: Path | str, kind: str, flags: int = 0, data: str = "") -> None:
    """Mount a filesystem; the arguments are those of the system call. Raises OSError."""
    _check(
        _libc.mount(
            source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode() or None
        ),
        f"mount {kind}",
        str(target),
    )


def unmount(target: Path | str, flags: int = MNT_DETACH) -> None:
    """Unmount as umount2(2). Raises OSError."""
    _check(_libc.umount2(os.fsencode(target), flags), "umount", str(target))


def unshare(flags: int) -> None:
    """Leave what the calling thread shares with others: ``CLONE_FS``, ``CLONE_NEWNS``. Raises OSError."""
    _check(_libc.unshare(flags), "unshare", None)


def enter_namespace(descriptor: int, kind: int) -> None:
    """Have the calling thread join a namespace of ``kind``, as setns(2). Raises OSError."""
    _check(_libc.setns(descriptor, kind), "setns", None)


def filesystem_type(path: str) -> int:
    """Return the magic number of the filesystem at ``path`` (linux/magic.h). Raises OSError."""
    buffer = ctypes.create_string_buffer(_STATFS_SIZE)
    _check(_libc.statfs(os.fsencode(path), buffer), "statfs", path)
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF  # the first member of struct statfs


def mount_overlay(
    target: Path, lowers: Sequence[Path], upper: Path | None = None, work: Path | None = None
) -> None:
    """Mount an overlay; ``lowers`` are bottom first. Without ``upper`` it is read-only.

    The layers are handed over one by one (``lowerdir+``, Linux 6.5), so their number is not bound by a page of options.
    Older kernels get them in one page, which holds more than 200.

    Raises:
        OSError: the kernel refuses; E2BIG if there are too many layers for it.
    """
    if len(lowers) > OVERLAY_LIMIT:
        raise OSError(errno.E2BIG, f"overlayfs stacks {OVERLAY_LIMIT} layers, not {len(lowers)}", str(target))
    try:
        _mount_stepwise(target, lowers, upper, work)
    except _NoSteps:
        mount_overlay_at_once(target, lowers, upper, work)


class _NoSteps(Exception):  # noqa: N818
    """The kernel does not take layers one by one."""


def _mount_stepwise(target: Path, lowers: Sequence[Path], upper: Path | None, work: Path | None) -> None:
    try:
        descriptor = _call(_FSOPEN, b"overlay", _CLOEXEC, what="fsopen overlay", path=str(target))
    except OSError as error:
        if error.errno == errno.ENOSYS:
            raise _NoSteps from error
        raise
    try:
        _configure_layers(descriptor, lowers, upper, work)
        for key, value in _OPTIONS:
            _configure(descriptor, _SET_STRING, key, value)
        _configure(descriptor, _CREATE, None, None)
        mounted = _call(_FSMOUNT, descriptor, _CLOEXEC, 0, what="fsmount overlay", path=str(target))
    finally:
        os.close(descriptor)
    try:
        _call(
            _MOVE_MOUNT, mounted, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH,
            what="move_mount", path=str(target),
        )  # fmt: skip
    finally:
        os.close(mounted)


def _configure_layers(descriptor: int, lowers: Sequence[Path], upper: Path | None, work: Path | None) -> None:
    for lower in reversed(lowers):
        try:
            _configure(descriptor, _SET_STRING, b"lowerdir+", os.fsencode(lower))
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise _NoSteps from error
            raise
    if upper is not None and work is not None:
        _configure(descriptor, _SET_STRING, b"upperdir", os.fsencode(upper))
        _configure(descriptor, _SET_STRING, b"workdir", os.fsencode(work))
        # Nothing of an unfinished step is ever used, so it need not survive a crash.
        _configure(descriptor, _SET_FLAG, b"volatile", None)


def mount_overlay_at_once(
    target: Path, lowers: Sequence[Path], upper: Path | None = None, work: Path | None = None
) -> None:
    """Mount an overlay as `mount_overlay`, by mount(2). Raises OSError."""
    with ExitStack() as opened:

        def short(path: Path) -> str:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            opened.callback(os.close, descriptor)
            return f"/proc/self/fd/{descriptor}"

        options = ["lowerdir=" + ":".join(short(lower) for lower in reversed(lowers))]
        if upper is not None and work is not None:
            options += [f"upperdir={short(upper)}", f"workdir={short(work)}", "volatile"]
        options += [f"{key.decode()}={value.decode()}" for key, value in _OPTIONS]
        data = ",".join(options)
        if len(data) >= _PAGE:
            raise OSError(errno.E2BIG, f"{len(lowers)} layers need Linux 6.5", str(target))
        mount("overlay", target, "overlay", 0, data)


def _configure(descriptor: int, command: int, key: bytes | None, value: bytes | None) -> None:
    _call(
        _FSCONFIG, descriptor, command, key, value, 0, what=f"fsconfig {(key or b'create').decode()}", path=""
    )


def _call(number: int, *arguments: object, what: str, path: str) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *(_argument(item) for item in arguments)))
    _check(min(0, result), what, path)
    return result


def _argument(value: object) -> object:
    if value is None:
        return ctypes.c_void_p(None)
    return ctypes.c_char_p(value) if isinstance(value, bytes) else ctypes.c_long(int(value))  # type: ignore[call-overload]


def _check(result: int, what: str, path: str | None) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}", path)
