# SPDX-License-Identifier: Apache-2.0
"""The source operation for files over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llbkit.llb.ir.ops import Source
from llbkit.solver.ports import CacheMap, ContentKey, Step
from llbkit.worker.base import SCRATCH, Snapshot, Snapshotter
from llbkit.worker.content.provider import Blobs
from llbkit.worker.host.pools import Pools, Token
from llbkit.worker.ops.source.image import key_digest
from llbkit.worker.results import Filesystem
from llbkit.worker.session.base import Session
from llbkit.worker.sources.file import retry_damaged, write_file
from llbkit.worker.sources.http import HttpFile, HttpSource, permissions


class HttpOperation:
    """``http://`` and ``https://``: one file, keyed by its content.

    Args:
        op: the source.
        session: the build's session.
        source: fetches files.
        store: holds their content.
        snapshotter: makes the file's snapshot.
        pools: runs blocking work.
    """

    def __init__(
        self,
        op: Source,
        session: Session,
        *,
        source: HttpSource,
        store: Blobs,
        snapshotter: Snapshotter,
        pools: Pools,
    ) -> None:
        self._op = op
        self._session = session
        self._source = source
        self._store = store
        self._snapshotter = snapshotter
        self._pools = pools

    @property
    def resources(self) -> Mapping[str, int]:
        """It uses the network."""
        return {"net": 1}

    async def cache_map(self, step: Step) -> CacheMap:
        """Return a key of content, name, permissions and time; what is unchanged is not sent again."""

        def progress(current: int, total: int) -> None:
            step.status(self._op.identifier, f"downloading {self._op.identifier}", current, total)

        def work(token: Token) -> HttpFile:
            return self._source.resolve(
                self._op.identifier, self._op.attrs, token, session=self._session, progress=progress
            )

        found = await self._pools.run("net", work)
        mode, uid, gid = permissions(self._op.attrs)
        parts = (found.digest, found.filename, str(mode), str(uid), str(gid), str(found.last_modified))
        return CacheMap(
            digest=key_digest("http", *parts),
            ingredients={
                "url": self._op.identifier,
                "content": found.digest,
                "filename": found.filename,
                "mode": mode,
                "uid": uid,
                "gid": gid,
                "last_modified": found.last_modified,
            },
        )

    async def content_key(self, index: int, value: Filesystem, step: Step) -> ContentKey | None:
        """Sources have no inputs."""
        return None

    async def execute(self, inputs: Sequence[Filesystem], step: Step) -> Sequence[Filesystem]:
        """Return a snapshot with the one file."""

        def work(token: Token) -> Snapshot:
            found = self._source.fetch(self._op.identifier, self._op.attrs, token, session=self._session)
            mode, uid, gid = permissions(self._op.attrs)
            with self._snapshotter.prepare(SCRATCH) as active:
                path = active.path / found.filename
                write_file(self._store, found.digest, path, mode, uid, gid, found.last_modified or 0.0)
                return active.commit(step.name)

        return [await self._pools.run("net", lambda token: retry_damaged(lambda: work(token)))]
