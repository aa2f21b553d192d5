# SPDX-License-Identifier: Apache-2.0
"""The operation of diff ops: the changes of one stack of layers over another."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from llbkit.llb.ir.graph import Vertex
from llbkit.llb.ir.ops import Diff
from llbkit.solver.ports import CacheMap, ContentKey, InputKey, Step
from llbkit.worker.base import SCRATCH, CancelToken, Snapshot, Snapshotter
from llbkit.worker.fs.bytescopy import equal_content
from llbkit.worker.fs.contenthash import ContentHasher
from llbkit.worker.fs.copy import CopyStyle, copy_picks
from llbkit.worker.fs.select.selection import Pick
from llbkit.worker.fs.tree import DirectoryTree, Node, join
from llbkit.worker.fs.writable import WritableRoot
from llbkit.worker.host.pools import Pools, Token
from llbkit.worker.ops.file.op import is_local, key_of_local
from llbkit.worker.results import Ensure, Filesystem, as_snapshot, quiet
from llbkit.worker.snapshot.overlayfs import make_whiteout, mark_merged


class DiffOperation:
    """Returns the layers by which ``upper`` grew from ``lower``, or a computed layer if it did not.

    Args:
        vertex: the vertex whose op it is.
        snapshotter: makes and shows snapshots.
        ensure: fetches and unpacks the layers of a snapshot.
        hasher: computes content keys of local directories.
        pools: runs blocking work.
    """

    def __init__(
        self, vertex: Vertex, *, snapshotter: Snapshotter, ensure: Ensure, hasher: ContentHasher, pools: Pools
    ) -> None:
        assert isinstance(vertex.op, Diff), "made for diff ops"
        self._vertex, self._op = vertex, vertex.op
        self._snapshotter, self._ensure = snapshotter, ensure
        self._hasher, self._pools = hasher, pools

    @property
    def resources(self) -> Mapping[str, int]:
        """One share of the disk."""
        return {"disk": 1}

    async def cache_map(self, step: Step) -> CacheMap:
        """Return a key of which input is which."""
        lower, upper = self._op.lower, self._op.upper
        return CacheMap(
            digest="sha256:" + hashlib.sha256(f"llbkit.diff.1\n{lower},{upper}".encode()).hexdigest(),
            inputs=tuple(
                InputKey(content=is_local(self._vertex, index)) for index in range(len(self._vertex.inputs))
            ),
            ingredients={"kind": "diff", "lower": lower, "upper": upper},
        )

    async def content_key(self, index: int, value: Filesystem, step: Step) -> ContentKey | None:
        """Return the digest of a local directory; None for others."""
        return await key_of_local(value, self._hasher, self._pools)

    async def execute(self, inputs: Sequence[Filesystem], step: Step) -> Sequence[Filesystem]:
        """Compute the difference."""

        def work(token: Token) -> Snapshot:
            lower, upper = (
                as_snapshot(inputs[index]) if index >= 0 else SCRATCH
                for index in (self._op.lower, self._op.upper)
            )
            grown = upper.layers[: len(lower.layers)] == lower.layers
            if grown:
                return Snapshot(upper.layers[len(lower.layers) :])
            for snapshot in (lower, upper):
                self._ensure(snapshot, token, quiet)
            with (
                self._snapshotter.view(lower) as below,
                self._snapshotter.view(upper) as above,
                self._snapshotter.prepare(SCRATCH) as active,
            ):
                write_difference(below, above, active.path, token)
                return active.commit(step.name)

        return [await self._pools.run("disk", work)]


def write_difference(lower: Path, upper: Path, target: Path, token: CancelToken) -> None:
    """Fill the empty directory ``target`` with the layer that turns ``lower`` into ``upper``.

    What is gone becomes a whiteout; what is new or has other metadata or content is copied; an unchanged directory is
    there only if something below it differs.

    Cost: one walk of both; content is read only where all metadata, times included, are equal on different inodes.
    """
    before, after = DirectoryTree(os.fspath(lower)), DirectoryTree(os.fspath(upper))
    changes = _Changes(before, after, token)
    changes.compare()
    root = WritableRoot(os.fspath(target))
    for path in changes.gone:
        root.make_directories(path.rpartition("/")[0], 0o755, None, -1)
        make_whiteout(root.full(path))
    copy_picks(after, changes.picks(), root, "", CopyStyle(), token)
    for parent in {path.rpartition("/")[0] for path in changes.gone} - {""}:
        mark_merged(root.full(parent))
    status = after.root().stat
    os.chown(target, status.st_uid, status.st_gid)
    os.chmod(target, stat.S_IMODE(status.st_mode))
    for name, value in after.xattrs("", after.root()):
        os.setxattr(target, name, value)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


class _Changes:
    """Compares two trees; a stack of directories instead of recursion."""

    def __init__(self, before: DirectoryTree, after: DirectoryTree, token: CancelToken) -> None:
        self._before, self._after, self._token = before, after, token
        self.gone: list[str] = []
        self._changed: dict[str, Node] = {}

    def compare(self) -> None:
        pending = [""]
        while pending:
            self._token.check()
            path = pending.pop()
            old, new = self._before.children(path), self._after.children(path)
            self.gone += [join(path, name) for name in old if name not in new]
            for name, node in new.items():
                child = join(path, name)
                was = old.get(name)
                if was is None or not self._same(child, was, node):
                    self._changed[child] = node
                if node.is_dir:
                    pending.append(child)

    def picks(self) -> list[Pick]:
        """Return the changed nodes with the directories above them and above what is gone, parents first."""
        wanted = dict(self._changed)
        for path in (*self._changed, *self.gone):
            parent = path.rpartition("/")[0]
            while parent and parent not in wanted:
                above, _, name = parent.rpartition("/")
                wanted[parent] = self._after.children(above)[name]
                parent = above
        ordered = sorted(wanted, key=lambda path: path.split("/"))
        return [Pick("", "", self._after.root()), *(Pick(path, path, wanted[path]) for path in ordered)]

    def _same(self, path: str, old: Node, new: Node) -> bool:
        a, b = old.stat, new.stat
        if (a.st_mode, a.st_uid, a.st_gid, old.link) != (b.st_mode, b.st_uid, b.st_gid, new.link):
            return False
        if a.st_mtime_ns != b.st_mtime_ns or a.st_rdev != b.st_rdev:
            return False
        if self._before.xattrs(path, old) != self._after.xattrs(path, new):
            return False
        if not new.is_file:
            return True
        if a.st_size != b.st_size:
            return False
        one_inode = (a.st_ino, a.st_ctime_ns) == (b.st_ino, b.st_ctime_ns)
        return one_inode or equal_content(join(self._before.base, path), join(self._after.base, path))


__all__: Sequence[str] = ("DiffOperation", "write_difference")
