# SPDX-License-Identifier: Apache-2.0
"""Images as sources: from a name to a digest, a platform's manifest, a config, and layers that are fetched when needed.

A tag is resolved once in a session, so one build sees one image. What is known by digest is taken from the content
store and needs no network. Everything blocks: use it on the ``net`` pool.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import parse_qs, quote

from llbkit.llb.address.reference import Reference, parse
from llbkit.llb.ir import platform as platforms
from llbkit.llb.ir.ops import Platform
from llbkit.records import dataclass
from llbkit.worker.base import CancelToken, SourceError
from llbkit.worker.content.layout import Layout, open_layout
from llbkit.worker.content.provider import (
    INDEXES,
    Blobs,
    Progress,
    Provider,
    WrongDigestError,
    descriptor_from,
    fetch,
    fetch_manifest,
    objects_in,
    read_json,
)
from llbkit.worker.images import ImageStore
from llbkit.worker.oci import Descriptor, is_digest
from llbkit.worker.registry.auth import acquired
from llbkit.worker.session.base import LayoutFiles, Session
from llbkit.worker.sources.platform import choose

ResolveMode = Literal["default", "pull", "local"]
DOCKER_IMAGE = "docker-image://"
OCI_LAYOUT = "oci-layout://"
_SESSIONS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedImage:
    """A name's answer: canonical reference, digest of the manifest or index, config bytes of the platform."""

    ref: str
    digest: str
    config: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedImage:
    """A platform's image: its manifest, config and layers (descriptor, diff id), and where blobs come from.

    ``source`` is an identifier that `ImageResolver.fetch` understands in any later process.
    """

    root: Descriptor
    manifest: Descriptor
    config: bytes
    layers: tuple[tuple[Descriptor, str], ...]
    history: tuple[Mapping[str, Any], ...]
    source: str


@dataclass(frozen=True, slots=True)
class _Place:
    provider: Provider
    ref: Reference
    source: str


def _named(layout: LayoutFiles | None) -> str:
    return layout.where if layout is not None else ""


class ImageResolver:
    """Finds images.

    Args:
        store: where manifests, configs and blobs are kept.
        registry: answers for references (`llbkit.worker.registry.client.RegistryProvider`).
        images: the local image store.
    """

    def __init__(self, *, store: Blobs, registry: Provider, images: ImageStore) -> None:
        self._store = store
        self._registry = registry
        self._images = images
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str], tuple[threading.Lock, list[tuple[Descriptor, _Place]]]]
        self._known = OrderedDict()

    def resolve(
        self,
        ref: str,
        platform: Platform,
        mode: ResolveMode,
        cancel: CancelToken,
        *,
        session: Session,
        oci_store: str = "",
    ) -> ResolvedImage:
        """Return the digest and config of an image.

        Raises:
            SourceError: the image or platform does not exist, or it cannot be reached.
        """
        parsed = parse(ref).with_default_tag()
        root, place = self._root(parsed, mode, cancel, session, self._layout(session, oci_store, ref))
        manifest = self._manifest(root, place, platform, cancel)
        body = self._read(manifest, place, cancel)
        return ResolvedImage(ref=str(parsed), digest=root.digest, config=self._config(body, place, cancel))

    def locate(
        self,
        identifier: str,
        attrs: Mapping[str, str],
        platform: Platform,
        cancel: CancelToken,
        *,
        session: Session,
    ) -> LocatedImage:
        """Return what a ``docker-image://`` or ``oci-layout://`` source consists of, without its layers' content.

        Raises:
            SourceError: the image or platform does not exist, or ``image.checksum`` is not its digest.
        """
        ref, layout = self._target(identifier, attrs, session)
        mode = attrs.get("image.resolvemode", "default")
        root, place = self._answered(ref, session, layout) or self._root(
            ref, "pull" if mode == "pull" else "local", cancel, session, layout
        )
        wanted = attrs.get("image.checksum", "")
        if wanted and wanted != root.digest:
            raise WrongDigestError(ref.familiar, wanted, root.digest)
        manifest = self._manifest(root, place, platform, cancel)
        body = self._read(manifest, place, cancel)
        config = self._config(body, place, cancel)
        table = read_json(f"the config of {ref.familiar}", config)
        layers = [
            descriptor_from(f"the manifest of {ref.familiar}", item)
            for item in objects_in(f"the manifest of {ref.familiar}", body, "layers")
        ]
        rootfs = table.get("rootfs")
        diff_ids = [str(item) for item in (rootfs if isinstance(rootfs, dict) else {}).get("diff_ids") or ()]
        if len(layers) != len(diff_ids) or not all(map(is_digest, diff_ids)):
            raise SourceError(
                f"{ref.familiar}: the manifest has {len(layers)} layers, the config {len(diff_ids)}",
                help="the image is damaged or not a container image; build and push it again",
            )
        if layout is not None and layout.local_path is None:  # its files are gone with the session
            for layer in layers:
                fetch(self._store, place.provider, place.ref, layer, cancel)
        limit = attrs.get("image.layerlimit") or attrs.get("oci.layerlimit") or ""
        count = int(limit) if limit.isdigit() else len(layers)
        entries = objects_in(f"the config of {ref.familiar}", table, "history")
        history = [dict(entry) for entry in entries if not entry.get("empty_layer")]
        return LocatedImage(
            root=root,
            manifest=manifest,
            config=config,
            layers=tuple(zip(layers, diff_ids, strict=True))[:count],
            history=tuple(history)[:count],
            source=place.source,
        )

    def pull_root(self, ref: Reference, cancel: CancelToken, *, session: Session) -> tuple[Descriptor, str]:
        """Ask the registry for an image's manifest or index; return it and the source that `fetch` understands.

        Raises:
            SourceError: the image does not exist, or the registry cannot be reached.
        """
        root, place = self._root(ref, "pull", cancel, session, None)
        return root, place.source

    def manifest_for(
        self, root: Descriptor, source: str, platform: Platform, cancel: CancelToken
    ) -> Descriptor:
        """Bring the manifest of a platform into the store and return it.

        Raises:
            SourceError: there is none.
        """
        place = self._place(source)
        manifest = self._manifest(root, place, platform, cancel)
        self._read(manifest, place, cancel)
        return manifest

    def fetch_manifests(self, root: Descriptor, source: str, cancel: CancelToken) -> None:
        """Bring every manifest below a root into the store.

        Raises:
            SourceError: one cannot be had.
        """
        place, pending, seen = self._place(source), [root], set[str]()
        while pending:
            descriptor = pending.pop()
            if descriptor.digest in seen:
                continue
            seen.add(descriptor.digest)
            body = self._read(descriptor, place, cancel)
            if descriptor.media_type in INDEXES:
                what = place.ref.familiar
                pending += [descriptor_from(what, item) for item in objects_in(what, body, "manifests")]

    def blob(
        self, identifier: str, attrs: Mapping[str, str], cancel: CancelToken, *, session: Session
    ) -> tuple[str, int]:
        """Fetch the blob of a ``+blob://`` source; return its digest and size.

        Raises:
            SourceError: it cannot be had.
        """
        ref, layout = self._target(identifier.replace("+blob://", "://", 1), attrs, session)
        if not ref.digest:
            raise SourceError(f"{identifier}: blob reference without a digest", help="add @sha256:...")
        provider = self._registry if layout is None else Layout(layout)
        fetch(self._store, provider, ref, Descriptor(media_type="", digest=ref.digest, size=-1), cancel)
        with self._store.open(ref.digest) as stream:
            return ref.digest, stream.seek(0, 2)

    def fetch(
        self, descriptor: Descriptor, source: str, cancel: CancelToken, progress: Progress | None = None
    ) -> None:
        """Bring a layer blob into the store; ``source`` is a `LocatedImage.source`. See `llbkit.worker.base.Fetch`.

        Raises:
            SourceError: it cannot be had.
        """
        if self._store.exists(descriptor.digest):
            return
        place = self._place(source)
        fetch(self._store, place.provider, place.ref, descriptor, cancel, progress)

    def _place(self, source: str) -> _Place:
        if source.startswith(DOCKER_IMAGE):
            return _Place(self._registry, parse(source.removeprefix(DOCKER_IMAGE)), source)
        if source.startswith(OCI_LAYOUT) and "?path=" in source:
            name, _, query = source.removeprefix(OCI_LAYOUT).partition("?")
            return _Place(Layout(open_layout(Path(parse_qs(query)["path"][0]))), parse(name), source)
        raise SourceError(
            "a layer is missing from the local store and its origin is unknown",
            help="build again with --no-cache",
        )

    def _target(
        self, identifier: str, attrs: Mapping[str, str], session: Session
    ) -> tuple[Reference, LayoutFiles | None]:
        scheme, _, name = identifier.partition("://")
        ref = parse(name).with_default_tag()
        if scheme != "oci-layout":
            return ref, None
        return ref, self._layout(session, attrs.get("oci.store") or ref.name, name)

    @staticmethod
    def _layout(session: Session, store: str, ref: str) -> LayoutFiles | None:
        if not store:
            return None
        files = session.store(store)
        if files is None:
            known = ", ".join(session.offered("store")) or "none"
            raise SourceError(
                f"{ref}: OCI layout {store!r} not provided to this build",
                help=f"available: {known}; add one with --build-context NAME=oci-layout://DIR",
            )
        return files

    def _root(
        self,
        ref: Reference,
        mode: ResolveMode,
        cancel: CancelToken,
        session: Session,
        layout: LayoutFiles | None,
    ) -> tuple[Descriptor, _Place]:
        key = (session.id, f"{_named(layout)} {mode} {ref}")
        with self._lock:
            lock, answer = self._known.setdefault(key, (threading.Lock(), []))
            while len({session_id for session_id, _ in self._known}) > _SESSIONS:
                self._known.popitem(last=False)
        with acquired(lock, cancel):
            if not answer:
                answer.append(self._ask(ref, mode, cancel, layout))
            return answer[0]

    def _answered(
        self, ref: Reference, session: Session, layout: LayoutFiles | None
    ) -> tuple[Descriptor, _Place] | None:
        """Return what the session was told of a name already, however it asked: its config and layers must agree."""
        with self._lock:
            for mode in get_args(ResolveMode):
                _, answer = self._known.get((session.id, f"{_named(layout)} {mode} {ref}"), (None, []))
                if answer:
                    return answer[0]
        return None

    def _ask(
        self, ref: Reference, mode: ResolveMode, cancel: CancelToken, layout: LayoutFiles | None
    ) -> tuple[Descriptor, _Place]:
        if layout is not None:
            path = layout.local_path
            origin = f"?path={quote(str(path))}" if path is not None else ""
            place = _Place(Layout(layout), ref, f"{OCI_LAYOUT}{ref}{origin}")
            return place.provider.resolve(ref, cancel), place
        place = _Place(self._registry, ref, f"{DOCKER_IMAGE}{ref}")
        if mode == "local" and (stored := self._images.get(str(ref))) is not None:
            self._require_manifest(stored.descriptor, place, cancel)
            return stored.descriptor, place
        if ref.digest and (known := self._kept(ref)) is not None:
            return known, place
        root = self._registry.resolve(ref, cancel)
        fetch_manifest(self._store, self._registry, ref, root, cancel)
        return root, place

    def _require_manifest(self, stored: Descriptor, place: _Place, cancel: CancelToken) -> None:
        """Have the manifest of a local image, if need be from its registry again."""
        try:
            fetch_manifest(self._store, self._registry, place.ref, stored, cancel)
        except SourceError as error:
            raise SourceError(
                f"{place.ref.familiar}: the local image is damaged and {stored.digest} cannot be fetched again: {error}",
                help=f"pull or build it again, or remove it: llbkit rmi {place.ref.familiar}",
            ) from error

    def _kept(self, ref: Reference) -> Descriptor | None:
        """Return the manifest or index of a digest that the store holds."""
        if not self._store.exists(ref.digest):
            return None
        try:
            data = self._store.read(ref.digest)
        except FileNotFoundError:
            return None
        body = read_json(ref.familiar, data)
        kind = body.get("mediaType") or (
            "application/vnd.oci.image.index.v1+json"
            if "manifests" in body
            else "application/vnd.oci.image.manifest.v1+json"
        )
        return Descriptor(media_type=str(kind), digest=ref.digest, size=len(data))

    def _manifest(
        self, root: Descriptor, place: _Place, platform: Platform, cancel: CancelToken
    ) -> Descriptor:
        current, depth = root, 0
        while current.media_type in INDEXES:
            body = self._read(current, place, cancel)
            entries = [
                descriptor_from(place.ref.familiar, item)
                for item in objects_in(place.ref.familiar, body, "manifests")
            ]
            chosen = choose(entries, platform)
            depth += 1
            if chosen is None or depth > 4:
                names = sorted(
                    {
                        platforms.format(e.platform)
                        for e in entries
                        if e.platform and e.platform.os != "unknown"
                    }
                )
                raise SourceError(
                    f"{place.ref.familiar}: no image for the platform {platforms.format(platform)}",
                    help=f"available: {', '.join(names)}; choose one with --platform"
                    if names
                    else "the index is empty",
                )
            current = chosen
        return current

    def _read(self, descriptor: Descriptor, place: _Place, cancel: CancelToken) -> dict[str, Any]:
        data = fetch_manifest(self._store, place.provider, place.ref, descriptor, cancel)
        body = read_json(f"the manifest of {place.ref.familiar}", data)
        if body.get("schemaVersion") != 2:
            raise SourceError(
                f"{place.ref.familiar}: unsupported manifest format", help="push the image again"
            )
        return body

    def _config(self, body: Mapping[str, Any], place: _Place, cancel: CancelToken) -> bytes:
        descriptor = descriptor_from(f"the manifest of {place.ref.familiar}", body.get("config"))
        fetch(self._store, place.provider, place.ref, descriptor, cancel)
        try:
            return self._store.read(descriptor.digest)
        except FileNotFoundError:  # it was damaged
            fetch(self._store, place.provider, place.ref, descriptor, cancel)
            return self._store.read(descriptor.digest)
