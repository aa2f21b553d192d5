# SPDX-License-Identifier: Apache-2.0
"""Pull from registries: the distribution API as a `llbkit.worker.content.provider.Provider`.

Mirrors are tried first; what a mirror lacks or refuses is asked of the registry itself. A blob whose connection breaks
goes on where it stopped (``Range``), and starts over in place where the host does not know ranges.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from typing import TypeVar

from llbkit.llb.address.reference import Reference
from llbkit.worker.base import CancelToken, SourceError
from llbkit.worker.content.provider import MAX_MANIFEST, WrongDigestError, describe, read_json, verified
from llbkit.worker.oci import DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST, Descriptor, is_digest
from llbkit.worker.registry.http_errors import HttpError
from llbkit.worker.registry.response import BrokenConnectionError, Response
from llbkit.worker.registry.transport import Endpoint, Transport
from llbkit.worker.registry.urls import with_query

T = TypeVar("T")

ACCEPT = f"{DOCKER_MANIFEST}, {DOCKER_LIST}, {MANIFEST}, {INDEX}, */*"
_RESUMES = 5
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)


class RegistryProvider:
    """Images of registries. Every call blocks: use it on the ``net`` pool."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def resolve(self, ref: Reference, cancel: CancelToken) -> Descriptor:
        """Return the descriptor of the manifest or index that ``ref`` names; one HEAD request as a rule.

        Raises:
            SourceError: there is none (with similar tags, where the registry lists them), or no access.
        """
        ref = ref.with_default_tag()
        try:
            return self._try_all(ref, lambda endpoint: self._resolve_at(endpoint, ref, cancel))
        except SourceError as error:
            raise self._with_alternatives(ref, error, cancel) from error

    def manifest(self, ref: Reference, descriptor: Descriptor, cancel: CancelToken) -> bytes:
        """Return the bytes of a manifest or index.

        Raises:
            SourceError: it is not there, too large, or not what its digest says.
        """

        def ask(endpoint: Endpoint) -> bytes:
            path = self._path(endpoint, ref, f"manifests/{descriptor.digest}")
            accept = {"Accept": f"{descriptor.media_type}, */*" if descriptor.media_type else ACCEPT}
            with self._transport.send(
                endpoint, "GET", path, cancel=cancel, headers=accept, scopes=pull_scopes(ref)
            ) as response:
                data = _small(response)
            return verified(f"{ref.familiar}, the manifest", data, descriptor.digest)

        try:
            return self._try_all(ref, ask)
        except SourceError as error:
            raise self._with_alternatives(ref.with_digest(descriptor.digest), error, cancel) from error

    def chunks(
        self, ref: Reference, descriptor: Descriptor, cancel: CancelToken, offset: int = 0
    ) -> Iterator[bytes]:
        """Give a blob's bytes from ``offset`` on in order, over as many connections as it takes.

        Raises:
            SourceError: no host has it, or connections break again and again.
        """
        breaks = 0
        last: SourceError | None = None
        endpoints = self._transport.endpoints(ref.domain)
        while endpoints:
            try:
                for chunk in self._range(endpoints[0], ref, descriptor, offset, cancel):
                    offset += len(chunk)
                    yield chunk
            except BrokenConnectionError as error:
                breaks += 1
                last = error
                if breaks > _RESUMES:
                    del endpoints[0]
                    breaks = 0
            except SourceError as error:
                last = error
                del endpoints[0]
            else:
                return
        assert last is not None
        raise SourceError(
            f"{ref.familiar}: cannot fetch the blob {descriptor.digest}: {last}", help=last.help
        ) from last

    def tags(self, ref: Reference, cancel: CancelToken, *, limit: int = 200) -> list[str]:
        """Return up to ``limit`` tags of a repository, as the registry lists them.

        Raises:
            SourceError: it does not list them.
        """
        endpoint = self._transport.endpoints(ref.domain)[-1]
        path = f"{ref.path}/tags/list?n={limit}"
        with self._transport.send(
            endpoint, "GET", path, cancel=cancel, scopes=pull_scopes(ref), retry=False
        ) as response:
            listed = read_json("the list of tags", _small(response)).get("tags")
        if not isinstance(listed, list):
            return []
        return [tag for tag in listed if isinstance(tag, str) and _TAG.fullmatch(tag)][:limit]

    def _resolve_at(self, endpoint: Endpoint, ref: Reference, cancel: CancelToken) -> Descriptor:
        path = self._path(endpoint, ref, f"manifests/{ref.object}")
        headers, scopes = {"Accept": ACCEPT}, pull_scopes(ref)
        with self._transport.send(
            endpoint, "HEAD", path, cancel=cancel, headers=headers, scopes=scopes, accept=(405,)
        ) as response:
            digest, size = response.headers.get("Docker-Content-Digest", ""), response.length
            kind = response.media_type
            if response.status != 405 and is_digest(digest) and 0 <= size <= MAX_MANIFEST and kind:
                if ref.digest and digest != ref.digest:
                    raise WrongDigestError(ref.familiar, ref.digest, digest)
                return Descriptor(media_type=kind, digest=digest, size=size)
        with self._transport.send(
            endpoint, "GET", path, cancel=cancel, headers=headers, scopes=scopes
        ) as response:
            kind = response.media_type
            data = _small(response)
        if ref.digest:
            verified(ref.familiar, data, ref.digest)
        return describe(data, kind if kind.startswith("application/vnd.") else "")

    def _range(
        self, endpoint: Endpoint, ref: Reference, descriptor: Descriptor, offset: int, cancel: CancelToken
    ) -> Iterator[bytes]:
        path = self._path(endpoint, ref, f"blobs/{descriptor.digest}")
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
        with self._transport.send(
            endpoint, "GET", path, cancel=cancel, headers=headers, scopes=pull_scopes(ref), accept=(416,)
        ) as response:
            if response.status == 416:
                return
            skip = offset if response.status == 200 else 0
            for chunk in response.chunks():
                if skip >= len(chunk):
                    skip -= len(chunk)
                    continue
                yield chunk[skip:]
                skip = 0

    def _try_all(self, ref: Reference, ask: Callable[[Endpoint], T]) -> T:
        endpoints = self._transport.endpoints(ref.domain)
        for endpoint in endpoints[:-1]:
            try:
                return ask(endpoint)
            except SourceError:
                continue  # a mirror need not have everything, nor be there
        return ask(endpoints[-1])

    @staticmethod
    def _path(endpoint: Endpoint, ref: Reference, rest: str) -> str:
        path = f"{ref.path}/{rest}"
        return with_query(path, ns=ref.domain) if endpoint.mirror else path

    def _with_alternatives(self, ref: Reference, error: SourceError, cancel: CancelToken) -> SourceError:
        """Return the error with the image's name; if it was not found, with the similar tags that exist."""
        if isinstance(error, WrongDigestError):
            return error
        if not isinstance(error, HttpError) or error.status != 404:
            return SourceError(f"{ref.familiar}: {error}", help=error.help)
        try:
            tags = self.tags(ref, cancel)
        except SourceError:
            return SourceError(
                f"{ref.familiar}: not found: {ref.domain} has no such repository, tag or digest",
                help="check the spelling; private images need: docker login",
            )
        near = difflib.get_close_matches(ref.tag, tags, n=5, cutoff=0.3) or sorted(tags)[:5]
        return SourceError(
            f"{ref.familiar}: not found: {ref.domain}/{ref.path} has no {'digest' if ref.digest else 'tag'} {ref.object}",
            help=f"similar tags: {', '.join(near)}" + (", ..." if len(tags) > len(near) else "")
            if near
            else "it has no tags",
        )


def pull_scopes(ref: Reference) -> frozenset[str]:
    """Return the token scope for reading a repository."""
    return frozenset({f"repository:{ref.path}:pull"})


def _small(response: Response) -> bytes:
    """Return the body of a manifest or the like, decoded."""
    data = response.read(MAX_MANIFEST)
    if len(data) > MAX_MANIFEST:
        raise SourceError(
            f"manifest larger than {MAX_MANIFEST >> 20} MiB",
            help="not a container image, or damaged; push it again",
        )
    return data
