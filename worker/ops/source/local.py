# SPDX-License-Identifier: Apache-2.0
"""The source operation for local directories."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from llbkit.llb.ir.ops import Source
from llbkit.solver.ports import CacheMap, ContentKey, Step
from llbkit.worker.base import SCRATCH, Snapshot, Snapshotter, SourceError
from llbkit.worker.fs.copy import CopyStyle, copy_picks
from llbkit.worker.fs.select.selection import Selection
from llbkit.worker.fs.writable import WritableRoot
from llbkit.worker.host.pools import Pools, Token
from llbkit.worker.results import Filesystem
from llbkit.worker.session.base import Directory, Session
from llbkit.worker.sources.localtree import LocalTree
from llbkit.worker.sources.statcache import StatCaches

_SCHEME = "local://"


class LocalOperation:
    """``local://name``: a directory of the session, read in place. Its result is a `LocalTree`.

    The key is volatile: only the content can identify it. Nothing is read before somebody looks.

    Args:
        op: the source.
        session: has the directory.
        caches: stat caches of all directories.
        hold: keeps layers for as long as what it returns is referred to.
        snapshotter: makes a snapshot, should an exec want a real directory.
        pools: runs blocking work.
    """

    def __init__(
        self,
        op: Source,
        session: Session,
        *,
        caches: StatCaches,
        hold: Callable[[Iterable[int]], object],
        snapshotter: Snapshotter,
        pools: Pools,
    ) -> None:
        self._op, self._session = op, session
        self._caches, self._hold = caches, hold
        self._snapshotter, self._pools = snapshotter, pools
        self._name = op.identifier.removeprefix(_SCHEME)

    @property
    def resources(self) -> Mapping[str, int]:
        """None: nothing is read yet."""
        return {}

    async def cache_map(self, step: Step) -> CacheMap:
        """Return a volatile key of the name and the filters."""
        filters = {key: self._patterns(key) for key in ("include", "exclude", "follow")}
        text = json.dumps([self._name, filters], sort_keys=True)
        return CacheMap(
            digest="sha256:" + hashlib.sha256(f"llbkit.local.1\n{text}".encode()).hexdigest(),
            ingredients={"kind": "local", "name": self._name, **{k: v for k, v in filters.items() if v}},
            volatile=True,
        )

    async def content_key(self, index: int, value: Filesystem, step: Step) -> ContentKey | None:
        """Sources have no inputs."""
        return None

    async def execute(self, inputs: Sequence[Filesystem], step: Step) -> Sequence[Filesystem]:
        """Return the lazy tree.

        Raises:
            SourceError: the build brought no directory of this name, or it does not exist.
        """
        directory = self._session.directory(self._name)
        if directory is None:
            known = ", ".join(self._session.offered("directory")) or "none"
            raise SourceError(
                f"local directory {self._name!r} not provided to this build", help=f"available: {known}"
            )
        return [await self._pools.run("disk", lambda token: self._tree(directory, token))]

    def _tree(self, directory: Directory, token: Token) -> LocalTree:

        def materialize(tree: LocalTree) -> Snapshot:
            with self._snapshotter.prepare(SCRATCH) as active:
                root = WritableRoot(os.fspath(active.path))
                picks = Selection().roots(tree)[0].picks
                copy_picks(tree, picks, root, "", CopyStyle(), token)
                made = active.commit(f"local directory {self._name}")
                tree.lease = self._hold(made.layers)
                return made

        def show(snapshot: Snapshot) -> AbstractContextManager[Path]:
            return self._snapshotter.view(snapshot)

        return LocalTree(
            directory,
            self._caches.of(directory.local_path),
            name=self._name,
            include=self._patterns("include"),
            exclude=self._patterns("exclude"),
            follow=self._patterns("follow"),
            materialize=materialize,
            show=show,
        )

    def _patterns(self, kind: str) -> list[str]:
        attribute = _ATTRIBUTES[kind]
        text = self._op.attrs.get(attribute, "")
        if not text:
            return []
        try:
            found = json.loads(text)
        except ValueError as error:
            raise SourceError(f"{self._op.identifier}: {attribute} is not valid JSON: {error}") from error
        if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
            raise SourceError(f"{self._op.identifier}: {attribute} is not a list of strings")
        return found


_ATTRIBUTES = {
    "include": "local.includepattern",
    "exclude": "local.excludepatterns",
    "follow": "local.followpaths",
}
