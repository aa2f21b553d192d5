# SPDX-License-Identifier: Apache-2.0
"""Image providers: one protocol for registries, OCI layouts and archives, and the common way to fetch a blob."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any, BinaryIO, Protocol

from llbkit.llb.address.reference import Reference
from llbkit.llb.ir.ops import Platform
from llbkit.worker.base import CancelToken, SourceError
from llbkit.worker.oci import DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST, Descriptor, digest_of, is_digest

MAX_MANIFEST = 4 << 20
"""Largest manifest or index in bytes that is read; larger ones are refused (as containerd does)."""

MANIFESTS = frozenset({MANIFEST, DOCKER_MANIFEST})
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""Matches the JSON escape of a surrogate; only pairs are valid text."""

_DAMAGED = "the image is damaged or not a container image; build and push it again"
INDEXES = frozenset({INDEX, DOCKER_LIST})

Progress = Callable[[int, int], None]
"""``progress(bytes so far, total)``."""


class BlobWriter(Protocol):
    """A blob being written."""

    @property
    def size(self) -> int:
        """The bytes so far."""

    @property
    def digest(self) -> str:
        """The digest of the bytes so far."""

    def write(self, data: bytes, /) -> object:
        """Append."""


class Readable(Protocol):
    """A blob being read."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, none at the end."""


class Blobs(Protocol):
    """What is used of the content store (`llbkit.worker.content.store.ContentStore`)."""

    def exists(self, digest: str) -> bool:
        """Return whether a blob is there in full."""

    def read(self, digest: str) -> bytes:
        """Return a small blob, verified. Raises FileNotFoundError."""

    def open(self, digest: str) -> BinaryIO:
        """Open a blob for reading by somebody who verifies what is read."""

    def verified(self, digest: str) -> AbstractContextManager[Readable]:
        """Open a blob for reading to its end, where a damaged one raises FileNotFoundError and is gone."""

    def put(self, data: bytes) -> str:
        """Store bytes; return their digest."""

    def writer(self, expected: str = "", size: int = -1) -> AbstractContextManager[BlobWriter]:
        """Write a blob: kept when the context is left normally and digest and size agree."""

    def download(self, digest: str, size: int) -> AbstractContextManager[BlobWriter]:
        """Write a blob on where an earlier download stopped; what the context leaves unfinished is kept for the next."""


class Provider(Protocol):
    """Something that holds images."""

    def resolve(self, ref: Reference, cancel: CancelToken) -> Descriptor:
        """Return the manifest or index that ``ref`` names. Raises SourceError if there is none."""

    def manifest(self, ref: Reference, descriptor: Descriptor, cancel: CancelToken) -> bytes:
        """Return a manifest or index, its digest verified."""

    def chunks(
        self, ref: Reference, descriptor: Descriptor, cancel: CancelToken, offset: int = 0
    ) -> Iterator[bytes]:
        """Yield a blob in chunks from ``offset`` on. The caller verifies."""


class WrongDigestError(SourceError):
    """Content is not what its digest promises."""

    def __init__(self, what: str, expected: str, actual: str) -> None:
        super().__init__(
            f"{what}: wrong digest: expected {expected}, got {actual}",
            help="the content is damaged or has changed; update the digest or try again",
        )
        self.expected = expected
        self.actual = actual


def verified(what: str, data: bytes, digest: str) -> bytes:
    """Return ``data`` if it has ``digest``.

    Raises:
        WrongDigestError: it does not.
    """
    actual = f"{digest.partition(':')[0]}:{hashlib.new(digest.partition(':')[0], data).hexdigest()}"
    if actual != digest:
        raise WrongDigestError(what, digest, actual)
    return data


def fetch(
    store: Blobs,
    provider: Provider,
    ref: Reference,
    descriptor: Descriptor,
    cancel: CancelToken,
    progress: Progress | None = None,
) -> None:
    """Bring a blob into the store unless it is there; verified while it is written.

    A download goes on where an earlier one stopped; if that left damaged content, it begins again.

    Raises:
        SourceError: it cannot be read, or is not what its descriptor says.
    """
    if store.exists(descriptor.digest):
        return
    start = 0
    try:
        with store.download(descriptor.digest, descriptor.size) as writer:
            start = writer.size
            _receive(writer, provider, ref, descriptor, cancel, progress)
    except WrongDigestError:
        if not start:
            raise
        with store.download(descriptor.digest, descriptor.size) as writer:
            _receive(writer, provider, ref, descriptor, cancel, progress)


def _receive(
    writer: BlobWriter,
    provider: Provider,
    ref: Reference,
    descriptor: Descriptor,
    cancel: CancelToken,
    progress: Progress | None,
) -> None:
    seen = writer.size
    for chunk in provider.chunks(ref, descriptor, cancel, seen):
        cancel.check()
        seen += len(chunk)
        if seen > descriptor.size >= 0:
            break
        writer.write(chunk)
        if progress is not None:
            progress(seen, descriptor.size)
    if descriptor.size not in (seen, -1):
        raise SourceError(
            f"{ref.familiar}: the blob {descriptor.digest} should have {descriptor.size} bytes, "
            f"{'more' if seen > descriptor.size else f'only {seen}'} were sent",
            help="the image is damaged; push it again",
        )
    if writer.digest != descriptor.digest:
        raise WrongDigestError(f"{ref.familiar}, a blob", descriptor.digest, writer.digest)


def fetch_manifest(
    store: Blobs, provider: Provider, ref: Reference, descriptor: Descriptor, cancel: CancelToken
) -> bytes:
    """Return a manifest or index from the store, or from ``provider`` into the store."""
    if store.exists(descriptor.digest):
        with suppress(FileNotFoundError):
            return store.read(descriptor.digest)
    data = provider.manifest(ref, descriptor, cancel)
    store.put(data)
    return data


def read_json(what: str, data: bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        SourceError: it is none.
    """
    try:
        value = json.loads(data)
        if _SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{what} is not JSON: {error}", help=_DAMAGED) from error
    if not isinstance(value, dict):
        raise SourceError(f"{what} is not a JSON object", help=_DAMAGED)
    return value


def objects_in(what: str, body: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Return the list of objects that is a member of a JSON object; missing and null are none.

    Raises:
        SourceError: it is something else.
    """
    items = body.get(key) or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise SourceError(f"{what}: {key} is not a list of objects", help=_DAMAGED)
    return items


def descriptor_from(what: str, value: object) -> Descriptor:
    """Read a descriptor of a manifest or index.

    Raises:
        SourceError: a required member is missing or has the wrong type.
    """
    try:
        if not isinstance(value, Mapping):
            raise TypeError("not an object")
        digest, size, platform = value["digest"], value["size"], value.get("platform")
        if not isinstance(digest, str) or not is_digest(digest):
            raise ValueError(f"invalid digest {digest!r}")
        if type(size) is not int or size < 0:
            raise ValueError(f"invalid size {size!r}")
        return Descriptor(
            media_type=str(value["mediaType"]),
            digest=digest,
            size=size,
            annotations=dict(value.get("annotations") or {}),
            platform=platform_from(platform) if platform else None,
            urls=tuple(value.get("urls") or ()),
            artifact_type=str(value.get("artifactType", "")),
        )
    except KeyError as error:
        raise SourceError(f"{what} contains a descriptor without {error}", help=_DAMAGED) from error
    except (AttributeError, TypeError, ValueError) as error:
        raise SourceError(f"{what} contains an invalid descriptor: {error}", help=_DAMAGED) from error


def platform_from(value: Mapping[str, Any]) -> Platform:
    """Read the image-spec form of a platform."""
    return Platform(
        architecture=str(value.get("architecture", "")),
        os=str(value.get("os", "")),
        variant=str(value.get("variant", "")),
        os_version=str(value.get("os.version", "")),
        os_features=tuple(value.get("os.features") or ()),
    )


def describe(data: bytes, media_type: str = "") -> Descriptor:
    """Return the descriptor of manifest or index bytes; the media type is read from them if not given."""
    body = read_json("the manifest", data)
    kind = media_type or body.get("mediaType") or (INDEX if "manifests" in body else MANIFEST)
    return Descriptor(media_type=str(kind), digest=digest_of(data), size=len(data))
