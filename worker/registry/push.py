# SPDX-License-Identifier: Apache-2.0
"""Push to registries: existing blobs are skipped, and blobs of other repositories on the same registry are mounted.

Blobs go first, in parallel; then manifests, children before parents, the tag last: an image that can be named is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import field, replace
from types import MappingProxyType

from llbkit.llb.address.reference import Reference
from llbkit.records import dataclass
from llbkit.worker.base import CancelToken, SourceError
from llbkit.worker.content.provider import Blobs
from llbkit.worker.content.store import DamagedBlobError
from llbkit.worker.host.pools import Cancelled, Token
from llbkit.worker.oci import Descriptor
from llbkit.worker.registry.client import ACCEPT, pull_scopes
from llbkit.worker.registry.http_errors import HttpError, UnreachableError
from llbkit.worker.registry.response import Response
from llbkit.worker.registry.transport import CHUNK, Endpoint, Transport
from llbkit.worker.registry.urls import resolve_url, same_origin, with_query

_PARALLEL = 4
_COMMIT_SECONDS = 300.0
"""How long a registry may take to answer that it has a blob: it may copy gigabytes in its storage meanwhile."""

Need = Callable[[Descriptor], None]
"""``need(descriptor)`` brings a blob into the store that the destination lacks (a layer never fetched so far)."""

Report = Callable[[str, str, int, int, bool], None]
"""See `llbkit.worker.base.StatusReport`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """What to push: manifests with children before parents (the last is the root), and the blobs they name.

    ``sources`` maps blob digests to repositories (``registry/path``) that hold them, for mounting.
    """

    manifests: Sequence[Descriptor]
    blobs: Sequence[Descriptor]
    sources: Mapping[str, Sequence[str]] = field(default_factory=lambda: MappingProxyType({}))


class Pusher:
    """Pushes images. Every call blocks: use it on the ``net`` pool."""

    def __init__(self, transport: Transport, store: Blobs) -> None:
        self._transport = transport
        self._store = store

    def push(
        self,
        ref: Reference,
        content: Push,
        *,
        cancel: CancelToken,
        need: Need,
        report: Report,
        by_digest: bool = False,
        insecure: bool | None = None,
    ) -> None:
        """Push an image to ``ref``'s repository, and name it by ``ref``'s tag unless ``by_digest``.

        Raises:
            SourceError: the registry cannot be reached or refuses.
        """
        endpoint = self._transport.endpoints(ref.domain, push=True, insecure=insecure)[-1]
        uploads = Token()
        job = _Job(self._transport, self._store, endpoint, ref, uploads, need, report)
        with (
            cancel.on_cancel(uploads.cancel),
            ThreadPoolExecutor(_PARALLEL, thread_name_prefix="llbkit-push") as threads,
        ):
            futures = [
                threads.submit(
                    copy_context().run, job.blob, blob, tuple(content.sources.get(blob.digest, ()))
                )
                for blob in {blob.digest: blob for blob in content.blobs}.values()
            ]
            done, others = wait(futures, return_when=FIRST_EXCEPTION)
            for future in others:
                future.cancel()
            if others:  # one failed: its neighbours need not go on
                uploads.cancel()
        cancel.check()
        failures = [error for future in done if (error := future.exception()) is not None]
        for error in sorted(failures, key=lambda error: isinstance(error, Cancelled)):
            raise error
        job = replace(job, cancel=cancel)
        for manifest in content.manifests[:-1]:
            job.manifest(manifest, manifest.digest)
        root = content.manifests[-1]
        job.manifest(root, root.digest if by_digest else ref.tag)


class _UnsendableError(Exception):
    """What is being sent turned out to be damaged."""

    def __init__(self, reason: DamagedBlobError) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Job:
    transport: Transport
    store: Blobs
    endpoint: Endpoint
    ref: Reference
    cancel: CancelToken
    need: Need
    report: Report

    @property
    def scopes(self) -> frozenset[str]:
        return frozenset({f"repository:{self.ref.path}:pull,push"})

    def blob(self, blob: Descriptor, repositories: tuple[str, ...]) -> None:
        """Make sure that the registry has a blob."""
        name = (
            f"pushing layer {blob.digest[7:19]}"
            if "layer" in blob.media_type
            else f"pushing {blob.digest[7:19]}"
        )
        self.report(blob.digest, name, 0, blob.size, False)
        self._wrap(lambda: self._blob(blob, name, repositories))
        self.report(blob.digest, name, blob.size, blob.size, True)

    def manifest(self, manifest: Descriptor, name: str) -> None:
        """Put a manifest under a tag or digest, unless the registry has just that there."""
        self.report(manifest.digest, f"pushing manifest {name}", 0, manifest.size, False)
        self._wrap(lambda: self._manifest(manifest, name))
        self.report(manifest.digest, f"pushing manifest {name}", manifest.size, manifest.size, True)

    def _wrap(self, work: Callable[[], None]) -> None:
        try:
            work()
        except _UnsendableError as error:
            raise error.reason from error
        except HttpError as error:
            hint = error.help
            if error.status in (401, 403):
                hint = f"push access required: docker login {self.ref.domain}"
            raise SourceError(f"cannot push to {self.ref.familiar}: {error}", help=hint) from error
        except SourceError as error:
            raise SourceError(f"cannot push to {self.ref.familiar}: {error}", help=error.help) from error

    def _blob(self, blob: Descriptor, name: str, repositories: tuple[str, ...]) -> None:
        if self._has(f"{self.ref.path}/blobs/{blob.digest}", blob.digest, tag=False):
            return
        location = self._start(blob, repositories)
        if not location:
            return
        self.need(blob)
        target = with_query(location, digest=blob.digest)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
        with self.transport.send(
            self.endpoint,
            "PUT",
            target,
            cancel=self.cancel,
            headers=headers,
            body=lambda: self._pieces(blob, name),
            scopes=self.scopes,
            authorize=same_origin(target, self.endpoint.base),
            patience=_COMMIT_SECONDS,
        ):
            pass

    def _start(self, blob: Descriptor, repositories: tuple[str, ...]) -> str:
        """Open an upload and return its URL; "" if the blob could be mounted."""
        path = f"{self.ref.path}/blobs/uploads/"
        source = _mount_source(self.ref, repositories)
        if source and (mounted := self._mount(blob, path, source)) is not None:
            return mounted
        with self.transport.send(
            self.endpoint, "POST", path, cancel=self.cancel, scopes=self.scopes
        ) as response:
            return self._location(response, path)

    def _mount(self, blob: Descriptor, path: str, source: str) -> str | None:
        """Ask for the blob of another repository; return an upload's URL, "" if it was mounted, None if neither."""
        mount = with_query(path, mount=blob.digest, **{"from": source})
        scopes = self.scopes | pull_scopes(Reference(self.ref.domain, source))
        try:
            with self.transport.send(
                self.endpoint, "POST", mount, cancel=self.cancel, scopes=scopes
            ) as response:
                return "" if response.status == 201 else self._location(response, path)
        except UnreachableError:
            raise
        except SourceError:
            return None  # no access to the other repository, or no such operation: sending the blob does not need it

    def _location(self, response: Response, path: str) -> str:
        location = response.headers.get("Location", "")
        try:
            if not location:
                raise ValueError("no Location header")
            return resolve_url(f"{self.endpoint.base}/v2/{path}", location)
        except ValueError as error:
            raise SourceError(
                f"{self.endpoint.host} returned an invalid upload URL: {str(error)[:200]}",
                help="the registry is broken or misconfigured",
            ) from error

    def _pieces(self, blob: Descriptor, name: str) -> Iterator[bytes]:
        sent = 0
        try:
            with self.store.verified(blob.digest) as source:
                while piece := source.read(CHUNK):
                    self.cancel.check()
                    yield piece
                    sent += len(piece)
                    self.report(blob.digest, name, sent, blob.size, False)
        except DamagedBlobError as error:
            # As an OSError it would be taken for one of the connection.
            raise _UnsendableError(error) from error

    def _manifest(self, manifest: Descriptor, name: str) -> None:
        path = f"{self.ref.path}/manifests/{name}"
        if self._has(path, manifest.digest, tag=True):
            return
        with self.transport.send(
            self.endpoint,
            "PUT",
            path,
            cancel=self.cancel,
            headers={"Content-Type": manifest.media_type},
            body=self.store.read(manifest.digest),
            scopes=self.scopes,
        ) as response:
            answer = response.headers.get("Docker-Content-Digest", manifest.digest)
        if answer != manifest.digest:
            raise SourceError(
                f"{self.endpoint.host} stored {answer[:100]!r} in place of {manifest.digest}",
                help="the registry is broken: it must keep manifests byte for byte",
            )

    def _has(self, path: str, digest: str, *, tag: bool) -> bool:
        headers = {"Accept": ACCEPT} if tag else {}
        with self.transport.send(
            self.endpoint,
            "HEAD",
            path,
            cancel=self.cancel,
            headers=headers,
            scopes=self.scopes,
            accept=(404, 405),
        ) as response:
            if response.status in (404, 405):
                return False
            return not tag or response.headers.get("Docker-Content-Digest", "") == digest


def _mount_source(ref: Reference, repositories: tuple[str, ...]) -> str:
    """Return the repository of the same registry with the longest common prefix, "" if there is none."""
    own = f"{ref.domain}/"
    paths = [name.removeprefix(own) for name in repositories if name.startswith(own) and name != ref.name]
    best = ""
    for path in paths:
        if not best or _common(path, ref.path) >= _common(best, ref.path):
            best = path
    return best


def _common(one: str, other: str) -> int:
    length = 0
    for left, right in zip(one.split("/"), other.split("/"), strict=False):
        if left != right:
            break
        length += 1
    return length
