# SPDX-License-Identifier: Apache-2.0
"""``type=tar``: the result's files as a tar archive, sorted, to a file or a stream."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

from worker.content.archive import Checked
from worker.exporters.archives import output
from worker.exporters.base import Attrs, ExportRequest, Run, epoch, platform_dir

_KINDS = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}


def export(request: ExportRequest, run: Run) -> dict[str, str]:
    """Write the archive and return the (empty) response.

    Raises:
        WorkerError: an attribute is wrong, or the archive cannot be written.
    """
    attrs = Attrs(request.attrs)
    split = attrs.flag("platform-split", request.multi)
    clamp = epoch(request, attrs)
    attrs.text("attestation-prefix")
    for key in ("sbom", "provenance"):
        attrs.refuse(key)
    attrs.rest()
    run.report("tar", "sending tarball", 0, 0, False)
    with (
        output(request) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20) as archive,
    ):
        for result in request.results:
            run.tools.layers.ensure(result.snapshot, run.cancel, run.report)
            with run.tools.snapshotter.view(result.snapshot) as root:
                prefix = platform_dir(result.platform) if split else ""
                if prefix:
                    archive.addfile(_directory(prefix, clamp))
                _add_tree(archive, root, prefix, clamp, run)
    run.report("tar", "sending tarball", 0, 0, True)
    return {}


def _directory(name: str, clamp: int | None) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.mtime = tarfile.DIRTYPE, 0o755, clamp or 0
    return member


def _walk(root: Path) -> Iterator[tuple[str, str, os.stat_result]]:
    """Give (path in the archive, path on disk, status) of all entries, parents first, names sorted."""
    pending = [""]
    while pending:
        relative = pending.pop()
        path = os.path.join(root, relative)
        if relative:
            yield relative, path, os.lstat(path)
        if not os.path.islink(path) and os.path.isdir(path):
            names = sorted(os.listdir(path), reverse=True)
            pending += [f"{relative}/{name}" if relative else name for name in names]


def _add_tree(archive: tarfile.TarFile, root: Path, prefix: str, clamp: int | None, run: Run) -> None:
    links: dict[tuple[int, int], str] = {}
    for relative, path, status in _walk(root):
        run.cancel.check()
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            continue  # a socket: no archive can hold it
        member = tarfile.TarInfo(f"{prefix}/{relative}" if prefix else relative)
        member.type, member.mode = kind, stat.S_IMODE(status.st_mode)
        member.uid, member.gid = status.st_uid, status.st_gid
        member.mtime = int(status.st_mtime if clamp is None else min(status.st_mtime, clamp))
        first = links.get((status.st_dev, status.st_ino))
        if kind == tarfile.SYMTYPE:
            member.linkname = os.readlink(path)
        elif kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
            member.devmajor, member.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
        elif kind == tarfile.REGTYPE and first is not None:
            member.type, member.linkname = tarfile.LNKTYPE, first
        member.pax_headers = _xattrs(path)
        if member.type != tarfile.REGTYPE:
            archive.addfile(member)
            continue
        if status.st_nlink > 1:
            links[status.st_dev, status.st_ino] = member.name
        member.size = status.st_size
        with open(path, "rb") as source:
            archive.addfile(member, Checked(source, run.cancel))


def _xattrs(path: str) -> dict[str, str]:
    names = os.listxattr(path, follow_symlinks=False)
    return {
        f"SCHILY.xattr.{name}": os.getxattr(path, name, follow_symlinks=False).decode(
            "utf-8", "surrogateescape"
        )
        for name in names
        if name.startswith("user.") or name == "security.capability"
    }
