# SPDX-License-Identifier: Apache-2.0
"""Map source identifiers to operations, and resolve source metadata without fetching."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from types import MappingProxyType

from llbkit.llb.ir.ops import Platform, Source
from llbkit.records import dataclass
from llbkit.worker.base import CancelToken, Snapshotter, SourceError
from llbkit.worker.content.provider import Blobs
from llbkit.worker.host.pools import Pools
from llbkit.worker.ops.source.git import GitOperation
from llbkit.worker.ops.source.http import HttpOperation
from llbkit.worker.ops.source.image import BlobOperation, ImageOperation
from llbkit.worker.remote import RegisteredLayers
from llbkit.worker.results import FilesystemOperation
from llbkit.worker.session.base import Session
from llbkit.worker.sources.git import GitSource
from llbkit.worker.sources.giturl import parse as parse_git
from llbkit.worker.sources.http import HttpSource
from llbkit.worker.sources.image import ImageResolver

SCHEMES = (
    "docker-image",
    "oci-layout",
    "docker-image+blob",
    "oci-layout+blob",
    "git",
    "http",
    "https",
    "local",
)

LocalFactory = Callable[[Source, Session], FilesystemOperation]
"""Makes the operation of a ``local://`` source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInfo:
    """What is known about a git or HTTP source: the worker's side of a frontend's ``resolve_source``."""

    identifier: str
    attrs: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    checksum: str = ""
    ref: str = ""
    commit_object: bytes = b""
    filename: str = ""
    last_modified: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Everything that sources need; ``local`` makes the operations of local directories."""

    resolver: ImageResolver
    git: GitSource
    http: HttpSource
    local: LocalFactory
    store: Blobs
    layers: RegisteredLayers
    snapshotter: Snapshotter
    pools: Pools

    def operation(self, op: Source, platform: Platform, session: Session) -> FilesystemOperation:
        """Return the operation of a source.

        Raises:
            SourceError: its scheme is not known or it is malformed.
        """
        scheme = op.identifier.partition("://")[0]
        pools, store, snapshotter = self.pools, self.store, self.snapshotter
        match scheme:
            case "docker-image" | "oci-layout":
                return ImageOperation(
                    op, platform, session, resolver=self.resolver, layers=self.layers, pools=pools
                )
            case "docker-image+blob" | "oci-layout+blob":
                return BlobOperation(
                    op, session, resolver=self.resolver, store=store, snapshotter=snapshotter, pools=pools
                )
            case "git":
                return GitOperation(op, session, source=self.git, snapshotter=snapshotter, pools=pools)
            case "http" | "https":
                return HttpOperation(
                    op, session, source=self.http, store=store, snapshotter=snapshotter, pools=pools
                )
            case "local":
                return self.local(op, session)
        raise SourceError(
            f"{op.identifier}: unsupported source scheme {scheme!r}",
            help=f"supported schemes: {', '.join(SCHEMES)}",
        )

    def describe(
        self, identifier: str, attrs: Mapping[str, str], cancel: CancelToken, *, session: Session
    ) -> SourceInfo:
        """Return what is known about a git or HTTP source; of others, the source as it is. Blocking.

        Raises:
            SourceError: it cannot be reached.
        """
        info = SourceInfo(identifier=identifier, attrs=attrs)
        if identifier.startswith("git://"):
            spec = parse_git(identifier, attrs)
            commit = self.git.resolve(spec, cancel, session=session)
            data = self.git.commit_object(spec, commit, cancel, session=session)
            return replace(info, checksum=commit.commit, ref=commit.ref, commit_object=data)
        if identifier.startswith(("http://", "https://")):
            found = self.http.resolve(identifier, attrs, cancel, session=session)
            return replace(
                info, checksum=found.digest, filename=found.filename, last_modified=found.last_modified
            )
        return info
