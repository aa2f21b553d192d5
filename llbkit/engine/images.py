# SPDX-License-Identifier: Apache-2.0
"""The images of the local store, for programs and the command line: list, inspect, pull, push, tag, save, load, remove."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

from llbkit.llb import Platform
from llbkit.llb.address.reference import parse
from llbkit.llb.ir import platform as platforms
from llbkit.progress.display_step import as_display_step
from llbkit.records import dataclass
from llbkit.solver.events import Progress, discard
from llbkit.worker.base import CancelToken, SourceError, StatusReport
from llbkit.worker.content.provider import descriptor_from
from llbkit.worker.images import StoredImage
from llbkit.worker.session.base import Session
from llbkit.worker.session.local import LocalSession
from llbkit.worker.worker import LocalWorker

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """One name of the local store. ``created_at`` in seconds since 1970; ``size`` in bytes, compressed as stored.

    ``damaged``: a manifest is missing, so size and platforms are unknown; pull or build it again, or remove it.
    """

    name: str
    id: str
    created_at: float
    size: int
    platforms: tuple[str, ...] = ()
    damaged: bool = False


class Images:
    """The local image store of an engine. Names are read as Docker reads them: ``app`` is docker.io/library/app:latest."""

    def __init__(self, worker: LocalWorker) -> None:
        self._worker = worker

    def list(self) -> Sequence[ImageInfo]:
        """Return every name, sorted."""
        with self._worker.lease():
            return [self._info(image) for image in self._worker.images.list()]

    def inspect(self, name: str, *, platform: str = "") -> Mapping[str, object]:
        """Return what Docker's ``image inspect`` prints of an image.

        Raises:
            SourceError: the image does not exist, or not for the platform.
        """
        with self._worker.lease():
            return self._worker.transfer.inspect(name, self._platform(platform))

    def tag(self, source: str, target: str) -> None:
        """Give an image a second name.

        Raises:
            SourceError: the image does not exist.
        """
        with self._worker.lease():
            self._worker.images.tag(source, target)

    def remove(self, name: str) -> ImageInfo:
        """Forget a name, or the only name of an image given by its id; `prune` frees what only it used.

        Raises:
            SourceError: the image does not exist, or the id has several names.
        """
        with self._worker.lease():
            image = self._worker.images.find(name)
            info = self._info(image)
            self._worker.images.remove(name)
        return info

    async def pull(
        self, name: str, *, platform: str = "", session: Session | None = None, progress: Progress = discard
    ) -> ImageInfo:
        """Bring an image of a registry into the store; ``platform`` is one, ``all``, or "" for this machine's.

        Raises:
            SourceError: it cannot be had.
        """
        wanted = None if platform == "all" else self._platform(platform)
        own = session or LocalSession(id=f"pull-{time.time_ns():x}")
        with self._worker.lease():
            pulled = await self._run(
                f"pulling {parse(name).with_default_tag().familiar}",
                "net",
                lambda cancel, report: self._worker.transfer.pull(name, wanted, cancel, report, session=own),
                progress,
            )
            return self._info(pulled)

    async def push(self, name: str, *, insecure: bool | None = None, progress: Progress = discard) -> str:
        """Send an image to the registry of its name; return its digest.

        Raises:
            SourceError: the image does not exist, or the registry refuses it.
        """
        with self._worker.lease():
            root = await self._run(
                f"pushing {name}",
                "net",
                lambda cancel, report: self._worker.transfer.push(name, cancel, report, insecure=insecure),
                progress,
            )
        return root.digest

    async def save(self, names: Sequence[str], stream: BinaryIO) -> None:
        """Write images to a stream as one archive that `docker load` reads, and that is an OCI layout too.

        Raises:
            SourceError: the image does not exist.
        """
        with self._worker.lease():
            await self._worker.pools.run(
                "disk",
                lambda cancel: self._worker.transfer.save(names, stream, self._platform(""), cancel),
            )

    async def load(self, path: Path, *, progress: Progress = discard) -> Sequence[ImageInfo]:
        """Take in every image of an archive of `docker save` or an OCI layout, compressed or not.

        Raises:
            SourceError: it is none, or lacks a part.
        """
        with self._worker.lease():
            loaded = await self._run(
                f"loading {path.name}",
                "disk",
                lambda cancel, report: self._worker.transfer.load(path, cancel, report),
                progress,
            )
            return [self._info(image) for image in loaded]

    def size_of(self, response: Mapping[str, str]) -> int:
        """Return the bytes of the image that an exporter's response names; 0 if it names none."""
        text = response.get("containerimage.descriptor")
        if text is None:
            return 0
        root = descriptor_from("the response", json.loads(base64.b64decode(text)))
        with self._worker.lease():
            return self._worker.transfer.content(root).size

    def _platform(self, text: str) -> Platform:
        return platforms.parse(text) if text else self._worker.platforms[0]

    def _info(self, image: StoredImage) -> ImageInfo:
        name = parse(image.name).familiar
        try:
            content = self._worker.transfer.content(image.descriptor)
        except SourceError:
            return ImageInfo(
                name=name, id=image.descriptor.digest, created_at=image.created_at, size=0, damaged=True
            )
        names = [platforms.format(m.platform) for m in content.manifests if m.platform is not None]
        return ImageInfo(
            name=name,
            id=image.descriptor.digest,
            created_at=image.created_at,
            size=content.size,
            platforms=tuple(name for name in names if not name.startswith("unknown")),
        )

    async def _run(
        self, title: str, pool: str, work: Callable[[CancelToken, StatusReport], T], progress: Progress
    ) -> T:
        return await as_display_step(
            title,
            title,
            progress,
            lambda report: self._worker.pools.run(pool, lambda cancel: work(cancel, report)),
        )
