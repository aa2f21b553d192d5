# SPDX-License-Identifier: Apache-2.0
"""Source operations for images and for single blobs of images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from llbkit.llb.ir.ops import Platform, Source
from llbkit.solver.ports import CacheMap, ContentKey, Step
from llbkit.worker.base import SCRATCH, Snapshot, Snapshotter
from llbkit.worker.content.provider import Blobs
from llbkit.worker.exporters.image import rfc3339
from llbkit.worker.host.pools import Pools, Token
from llbkit.worker.remote import RegisteredLayers, RemoteLayer, register
from llbkit.worker.results import Filesystem
from llbkit.worker.session.base import Session
from llbkit.worker.sources.file import retry_damaged, write_file
from llbkit.worker.sources.http import permissions
from llbkit.worker.sources.image import ImageResolver, LocatedImage


class ImageOperation:
    """``docker-image://`` and ``oci-layout://``: a snapshot of layers, none of which is fetched yet.

    Args:
        op: the source.
        platform: which of an index's images.
        session: the build's session.
        resolver: finds images.
        layers: knows layers.
        pools: runs blocking work.
    """

    def __init__(
        self,
        op: Source,
        platform: Platform,
        session: Session,
        *,
        resolver: ImageResolver,
        layers: RegisteredLayers,
        pools: Pools,
    ) -> None:
        self._op = op
        self._platform = platform
        self._session = session
        self._resolver = resolver
        self._layers = layers
        self._pools = pools
        self._found: LocatedImage | None = None

    @property
    def resources(self) -> Mapping[str, int]:
        """It uses the network."""
        return {"net": 1}

    async def cache_map(self, step: Step) -> CacheMap:
        """Return the digests of the layers: nothing is pulled, and what else the image says is no part of the result."""
        found = await self._locate()
        blobs = [descriptor.digest for descriptor, _ in found.layers]
        return CacheMap(
            digest=key_digest("image", *blobs, *(diff_id for _, diff_id in found.layers)),
            ingredients={"source": self._op.identifier, "layers": blobs},
        )

    async def content_key(self, index: int, value: Filesystem, step: Step) -> ContentKey | None:
        """Sources have no inputs."""
        return None

    async def execute(self, inputs: Sequence[Filesystem], step: Step) -> Sequence[Filesystem]:
        """Return the image's layers as a snapshot."""
        found = await self._locate()
        return [await self._pools.run("disk", lambda token: self._add(found, token))]

    async def _locate(self) -> LocatedImage:
        if self._found is None:
            self._found = await self._pools.run(
                "net",
                lambda token: self._resolver.locate(
                    self._op.identifier, self._op.attrs, self._platform, token, session=self._session
                ),
            )
        return self._found

    def _add(self, found: LocatedImage, token: Token) -> Snapshot:
        described: list[RemoteLayer] = []
        for position, (descriptor, diff_id) in enumerate(found.layers):
            entry: Mapping[str, Any] = found.history[position] if position < len(found.history) else {}
            created = rfc3339.parse(str(entry.get("created", "")))
            described.append(
                RemoteLayer(
                    descriptor=descriptor,
                    diff_id=diff_id,
                    source=found.source,
                    description=str(entry.get("created_by", "")),
                    created_at=(created or 0) / 1_000_000_000,
                )
            )
        return register(described, self._layers, token)


class BlobOperation:
    """``docker-image+blob://`` and ``oci-layout+blob://``: one blob as a file.

    Args:
        op: the source.
        session: the build's session.
        resolver: fetches blobs.
        store: holds them.
        snapshotter: makes the file's snapshot.
        pools: runs blocking work.
    """

    def __init__(
        self,
        op: Source,
        session: Session,
        *,
        resolver: ImageResolver,
        store: Blobs,
        snapshotter: Snapshotter,
        pools: Pools,
    ) -> None:
        self._op = op
        self._session = session
        self._resolver = resolver
        self._store = store
        self._snapshotter = snapshotter
        self._pools = pools

    @property
    def resources(self) -> Mapping[str, int]:
        """It uses the network."""
        return {"net": 1}

    async def cache_map(self, step: Step) -> CacheMap:
        """Return a key of digest, name and permissions; no requests are made."""
        mode, uid, gid = permissions(self._op.attrs)
        digest = self._op.identifier.rpartition("@")[2]
        name = self._name(digest)
        return CacheMap(
            digest=key_digest("blob", digest, name, str(mode), str(uid), str(gid)),
            ingredients={
                "source": self._op.identifier,
                "filename": name,
                "mode": mode,
                "uid": uid,
                "gid": gid,
            },
        )

    async def content_key(self, index: int, value: Filesystem, step: Step) -> ContentKey | None:
        """Sources have no inputs."""
        return None

    async def execute(self, inputs: Sequence[Filesystem], step: Step) -> Sequence[Filesystem]:
        """Fetch the blob and return a snapshot with the one file."""

        def work(token: Token) -> Snapshot:
            digest, _ = self._resolver.blob(self._op.identifier, self._op.attrs, token, session=self._session)
            mode, uid, gid = permissions(self._op.attrs)
            with self._snapshotter.prepare(SCRATCH) as active:
                write_file(self._store, digest, active.path / self._name(digest), mode, uid, gid, 0.0)
                return active.commit(step.name)

        return [await self._pools.run("net", lambda token: retry_damaged(lambda: work(token)))]

    def _name(self, digest: str) -> str:
        name = self._op.attrs.get("http.filename", "").replace("\\", "/").rpartition("/")[2]
        return name if name not in ("", ".", "..") else digest.rpartition(":")[2]


def key_digest(*parts: str) -> str:
    """Return the digest of a source's cache key."""
    return "sha256:" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()
