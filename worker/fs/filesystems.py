# SPDX-License-Identifier: Apache-2.0
"""Filesystem identity: whether a path is still on the same filesystem as before.

A file's inode number, size and times say that it did not change only on a filesystem whose times are kept by the kernel. An
image (squashfs, erofs, ISO 9660) has whatever times its maker wrote, and any image may be changed while it is not mounted. So
the identity of what is mounted from an image file is that file's own; of other images there is none.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from pathlib import Path

from llbkit.worker.host.syscalls import filesystem_type

_FUSE = 0x65735546
# The read-only filesystems of linux/magic.h: squashfs, erofs, ISO 9660, cramfs in both byte orders, romfs, UDF.
_IMAGES = frozenset({0x73717368, 0xE0F5E1E2, 0x9660, 0x28CD3D45, 0x453DCD28, 0x7275, 0x15013346})
_F_SETSIG = 10  # missing in Python's fcntl on some platforms


def identity_of(path: str) -> str | None:
    """Return a text that differs for another filesystem at ``path``; None if nothing could tell.

    Cost: three system calls, more for images. Ask once a device, not once a file.

    Raises:
        OSError: there is nothing at the path.
    """
    device = os.stat(path).st_dev
    kind, facts = filesystem_type(path), os.statvfs(path)
    image = _image_file(device)
    if image is not None:
        return f"image {kind:x} {image}" if image else None
    if kind in _IMAGES or (kind == _FUSE and facts.f_flag & os.ST_RDONLY):
        return None
    return f"{kind:x} {facts.f_fsid:x}" if facts.f_fsid else f"{kind:x} device {device:x}"


def is_open_for_writing(descriptor: int) -> bool | None:
    """Return whether somebody could be writing to a file that is open for reading, mappings into memory included.

    None if the filesystem, or the file's owner, does not let us know. What this tells is that the kernel would refuse a
    read lease, which is not kept; see fcntl(2).
    """
    try:
        # Should somebody open the file right now, the signal is one that is ignored: SIGIO would end the process.
        fcntl.fcntl(descriptor, _F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return True if error.errno in (errno.EAGAIN, errno.EBUSY) else None
    return False


def _image_file(device: int) -> str | None:
    """Return what tells the content of the image file behind a device; "" if it is out of reach, None if there is none."""
    if os.major(device) == 0:
        return None
    block = Path(os.path.realpath(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"))
    for place in (block, block.parent):  # a partition is below its device
        try:
            backing = (place / "loop" / "backing_file").read_text().rstrip("\n")
            status = os.stat(backing)
        except FileNotFoundError:
            if (place / "loop").is_dir():
                return ""
            continue
        except OSError:
            return ""
        return f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
    return None
