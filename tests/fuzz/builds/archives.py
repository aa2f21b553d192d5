# SPDX-License-Identifier: Apache-2.0
"""Archives with odd entries, as data and as bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile

import zstandard

from llbkit.records import dataclass

TYPES = {
    "file": tarfile.REGTYPE,
    "dir": tarfile.DIRTYPE,
    "link": tarfile.SYMTYPE,
    "hard": tarfile.LNKTYPE,
    "fifo": tarfile.FIFOTYPE,
    "char": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
    "contiguous": tarfile.CONTTYPE,
    "unknown": b"W",
}
FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
COMPRESSIONS = ("", "gz", "bz2", "xz", "zst")


@dataclass(frozen=True, kw_only=True)
class Member:
    """An entry of an archive."""

    name: str
    kind: str = "file"
    data: str = ""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: float = 1_500_000_000
    target: str = ""
    xattr: str = ""
    form: str = "pax"


def make_archive(members: tuple[Member, ...], compression: str = "", tail: str = "") -> bytes:
    """Return the archive; ``tail`` are bytes after its end, inside the compression if it starts with ``+``."""
    plain = _tar(members)
    if tail.startswith("+"):
        plain += tail[1:].encode()
    data = compress(plain, compression)
    return data if tail.startswith("+") else data + tail.encode()


def compress(data: bytes, compression: str) -> bytes:
    match compression:
        case "gz":
            return gzip.compress(data, mtime=0)
        case "bz2":
            return bz2.compress(data)
        case "xz":
            return lzma.compress(data)
        case "zst":
            return zstandard.compress(data)
    return data


def _tar(members: tuple[Member, ...]) -> bytes:
    out = io.BytesIO()
    for member in members:
        info = tarfile.TarInfo(member.name)
        info.type = TYPES[member.kind]
        info.mode, info.uid, info.gid, info.mtime = member.mode, member.uid, member.gid, member.mtime
        info.linkname = member.target
        data = member.data.encode() if member.kind in ("file", "contiguous", "unknown") else b""
        info.size = len(data)
        if member.kind in ("char", "block"):
            info.devmajor, info.devminor = 1, 3
        if member.form == "pax":
            info.pax_headers = {"SCHILY.xattr.user.note": member.xattr} if member.xattr else {}
        else:
            info.mtime = int(member.mtime)
        out.write(info.tobuf(FORMATS[member.form], errors="surrogateescape"))
        out.write(data + b"\0" * (-len(data) % 512))
    return out.getvalue() + b"\0" * 1024
