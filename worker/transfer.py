# SPDX-License-Identifier: Apache-2.0
"""Transfer of whole images between the local store, registries and archives.

An image keeps its bytes on every way: what is pulled, saved, loaded and pushed has the digest it had.
Every function blocks: call it on the ``net`` or ``disk`` pool.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from llbkit.llb.address.reference import Reference, parse
from llbkit.llb.ir import platform as platforms
from llbkit.llb.ir.ops import Platform
from llbkit.records import dataclass
from llbkit.worker.archive.decompress import decompression_errors, decompressor_of
from llbkit.worker.base import CancelToken, SourceError, StatusReport
from llbkit.worker.content.archive import blob_path, compact, write_tar
from llbkit.worker.content.layout import IMAGE_NAME, REF_NAME, Layout, open_layout
from llbkit.worker.content.legacy import read_legacy
from llbkit.worker.content.provider import INDEXES, Blobs, descriptor_from, fetch, objects_in, read_json
from llbkit.worker.images import ImageStore, StoredImage
from llbkit.worker.oci import Descriptor
from llbkit.worker.registry.push import Push, Pusher
from llbkit.worker.session.base import Session
from llbkit.worker.sources.image import ImageResolver
from llbkit.worker.sources.platform import choose

_CHUNK = 1 << 20

NOT_A_PLATFORM = "unknown"
"""The operating system that an index gives for what is not an image, such as an attestation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Everything below a root: ``manifests`` with children before parents and the root last, ``blobs`` each once."""

    manifests: tuple[Descriptor, ...]
    blobs: tuple[Descriptor, ...]

    @property
    def size(self) -> int:
        """The bytes of all of it, compressed as it is stored."""
        return sum(item.size for item in (*self.manifests, *self.blobs))


class ImageTransfer:
    """Moves images in and out of the local store. ``scratch`` is a directory for temporary files."""

    def __init__(
        self, *, store: Blobs, images: ImageStore, resolver: ImageResolver, pusher: Pusher, scratch: Path
    ) -> None:
        self._store = store
        self._images = images
        self._resolver = resolver
        self._pusher = pusher
        self._scratch = scratch

    # -- looking

    def content(self, root: Descriptor) -> Content:
        """Return what a stored root consists of. Platforms of an index whose manifest is not stored are left out.

        Raises:
            SourceError: a manifest is damaged, or the root is missing.
        """
        manifests: dict[str, Descriptor] = {}
        blobs: dict[str, Descriptor] = {}
        pending = [(root, False)]
        while pending:
            descriptor, children_done = pending.pop()
            if children_done:
                manifests[descriptor.digest] = descriptor
                continue
            if descriptor.digest in manifests or (
                descriptor is not root and not self._store.exists(descriptor.digest)
            ):
                continue
            body = self._body(descriptor)
            pending.append((descriptor, True))
            what = f"the manifest {descriptor.digest[:19]}"
            if descriptor.media_type in INDEXES:
                pending += [
                    (descriptor_from(what, entry), False) for entry in objects_in(what, body, "manifests")
                ]
            else:
                found = [descriptor_from(what, body.get("config"))]
                found += [descriptor_from(what, entry) for entry in objects_in(what, body, "layers")]
                blobs |= {blob.digest: blob for blob in found}
        return Content(manifests=tuple(manifests.values()), blobs=tuple(blobs.values()))

    def image_for(self, root: Descriptor, platform: Platform) -> tuple[Descriptor, dict[str, Any], bytes]:
        """Return the manifest (descriptor and body) and config of a stored image for a platform.

        Raises:
            SourceError: the image has none for it, or is damaged.
        """
        manifest = root
        if root.media_type in INDEXES:
            entries = [
                descriptor_from("the index", e)
                for e in objects_in("the index", self._body(root), "manifests")
            ]
            chosen = choose([entry for entry in entries if self._store.exists(entry.digest)], platform)
            if chosen is None:
                raise SourceError(
                    f"no image for the platform {platforms.format(platform)}", help=_platforms(entries)
                )
            manifest = chosen
        body = self._body(manifest)
        config = descriptor_from("the manifest", body.get("config"))
        return manifest, body, self._read(config.digest)

    def inspect(self, name: str, platform: Platform) -> dict[str, object]:
        """Return what `docker image inspect` prints of an image.

        Raises:
            SourceError: the image does not exist, or it is damaged.
        """
        image = self._images.find(name)
        manifest, _, data = self.image_for(image.descriptor, platform)
        config = read_json("the config", data)
        same = [other for other in self._images.list() if other.descriptor.digest == image.descriptor.digest]
        refs = [parse(other.name) for other in same]
        rootfs = config.get("rootfs")
        layers = (rootfs if isinstance(rootfs, dict) else {}).get("diff_ids") or []
        out: dict[str, object] = {
            "Id": image.descriptor.digest,
            "RepoTags": [ref.familiar for ref in refs if not ref.digest],
            "RepoDigests": sorted(
                {replace(ref, tag="", digest=image.descriptor.digest).familiar for ref in refs}
            ),
            "Comment": _last_history(config).get("comment", ""),
            "Created": config.get("created", ""),
            "Author": config.get("author", ""),
            "Architecture": config.get("architecture", ""),
            "Variant": config.get("variant", ""),
            "Os": config.get("os", ""),
            "OsVersion": config.get("os.version", ""),
            "Size": self.content(manifest).size,
            "RootFS": {"Type": "layers", "Layers": layers},
            "Descriptor": image.descriptor.to_json(),
            "Config": config.get("config") or {},
        }
        return {key: value for key, value in out.items() if value != "" or key in ("Created", "Architecture")}

    def _body(self, descriptor: Descriptor) -> dict[str, Any]:
        return read_json(f"the manifest {descriptor.digest[:19]}", self._read(descriptor.digest))

    def _read(self, digest: str) -> bytes:
        try:
            return self._store.read(digest)
        except FileNotFoundError:
            raise SourceError(
                f"{digest} is missing from the local store", help="pull or build the image again"
            ) from None

    # -- registries

    def pull(
        self,
        name: str,
        platform: Platform | None,
        cancel: CancelToken,
        report: StatusReport,
        *,
        session: Session,
    ) -> StoredImage:
        """Bring an image of a registry into the store, under its name; ``platform`` None is all that it has.

        Raises:
            SourceError: it cannot be had.
        """
        ref = parse(name).with_default_tag()
        root, source = self._resolver.pull_root(ref, cancel, session=session)
        if platform is not None:
            root = self._resolver.manifest_for(root, source, platform, cancel)
        else:
            self._resolver.fetch_manifests(root, source, cancel)
        for blob in self.content(root).blobs:
            self._bring(blob, source, cancel, report)
        self._images.put(str(ref), replace(root, platform=None, annotations={}))
        return self._images.find(str(ref))

    def push(
        self, name: str, cancel: CancelToken, report: StatusReport, *, insecure: bool | None = None
    ) -> Descriptor:
        """Send a stored image to the registry of its name; return its root.

        Raises:
            SourceError: the image does not exist, or the registry refuses it.
        """
        image = self._images.find(name)
        content = self.content(image.descriptor)
        if (missing := self._missing(image.descriptor)) is not None:
            raise SourceError(
                f"{name}: platform {platforms.format(missing)} of the index is missing from the local store",
                help=f"pull all platforms: llbkit pull --platform all {name}",
            )
        self._pusher.push(
            parse(image.name),
            Push(manifests=content.manifests, blobs=content.blobs),
            cancel=cancel,
            need=lambda blob: self._require(blob.digest),
            report=report,
            insecure=insecure,
        )
        return image.descriptor

    def _missing(self, root: Descriptor) -> Platform | None:
        if root.media_type not in INDEXES:
            return None
        for entry in objects_in("the index", self._body(root), "manifests"):
            child = descriptor_from("the index", entry)
            if not self._store.exists(child.digest):
                return child.platform or Platform(architecture=NOT_A_PLATFORM, os=NOT_A_PLATFORM)
        return None

    def _require(self, digest: str) -> None:
        if not self._store.exists(digest):
            raise SourceError(
                f"{digest} is missing from the local store", help="pull or build the image again"
            )

    def _bring(self, blob: Descriptor, source: str, cancel: CancelToken, report: StatusReport) -> None:
        name = f"pulling {blob.digest[7:19]}"
        report(blob.digest, name, 0, blob.size, False)
        self._resolver.fetch(
            blob, source, cancel, lambda seen, total: report(blob.digest, name, seen, total, False)
        )
        report(blob.digest, name, blob.size, blob.size, True)

    # -- archives

    def save(self, names: Sequence[str], stream: BinaryIO, platform: Platform, cancel: CancelToken) -> None:
        """Write images as one archive that `docker load` reads, and that is an OCI layout too.

        Raises:
            SourceError: the image does not exist, or the store lacks a part of it.
        """
        blobs: dict[str, Descriptor] = {}
        entries: list[dict[str, Any]] = []
        docker: dict[str, dict[str, Any]] = {}
        for name in names:
            image = self._images.find(name)
            content = self.content(image.descriptor)
            blobs |= {blob.digest: blob for blob in (*content.blobs, *content.manifests)}
            ref = parse(image.name)
            entry = image.descriptor.to_json()
            entry["annotations"] = {IMAGE_NAME: str(ref), **({REF_NAME: ref.tag} if ref.tag else {})}
            entries.append(entry)
            manifest, body, _ = self.image_for(image.descriptor, platform)
            item = docker.setdefault(
                manifest.digest,
                {
                    "Config": blob_path(str(body["config"]["digest"])),
                    "RepoTags": [],
                    "Layers": [blob_path(str(layer["digest"])) for layer in body.get("layers") or ()],
                },
            )
            if ref.tag:
                item["RepoTags"].append(ref.familiar)
        for digest in blobs:
            self._require(digest)
        write_tar(
            stream,
            store=self._store,
            blobs=blobs.values(),
            index={
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": entries,
            },
            docker_manifest=compact(list(docker.values())),
            cancel=cancel,
        )

    def load(self, path: Path, cancel: CancelToken, report: StatusReport) -> list[StoredImage]:
        """Take in every image of an OCI layout (directory or tar) or an archive of `docker save`.

        Raises:
            SourceError: it is none, or lacks a part.
        """
        with self._plain(path, cancel) as plain:
            return self._load(plain, path, cancel, report)

    @contextmanager
    def _plain(self, path: Path, cancel: CancelToken) -> Iterator[Path]:
        """Give an archive without its compression; what was not compressed is given as it is."""
        if path.is_dir():
            yield path
            return
        with path.open("rb") as file:
            decompress = decompressor_of(file.read(8))
            file.seek(0)
            if decompress is None:
                yield path
                return
            damage: tuple[type[Exception], ...] = (EOFError, *decompression_errors())
            plain = self._scratch / f"load-{secrets.token_hex(8)}.tar"
            try:
                with decompress(file) as stream, plain.open("wb") as target:
                    while piece := stream.read(_CHUNK):
                        cancel.check()
                        target.write(piece)
                yield plain
            except damage as error:
                raise SourceError(
                    f"{path} is damaged: {error}", help="save the image or copy the file again"
                ) from error
            finally:
                plain.unlink(missing_ok=True)

    def _load(self, plain: Path, path: Path, cancel: CancelToken, report: StatusReport) -> list[StoredImage]:
        layout = Layout(open_layout(plain), legacy=True)
        if not layout.is_oci:
            found = read_legacy(layout, self._store, cancel)
        else:
            found = [(_names(entry), self._take(layout, entry, cancel, report)) for entry in layout.entries()]
        loaded: list[StoredImage] = []
        for names, root in found:
            for name in names or [f"localhost/untagged@{root.digest}"]:
                self._images.put(name, root)
                loaded.append(self._images.find(name))
        if not loaded:
            raise SourceError(f"no images in {path}")
        return loaded

    def _take(
        self, layout: Layout, root: Descriptor, cancel: CancelToken, report: StatusReport
    ) -> Descriptor:
        """Copy what is below a root of a layout into the store; platforms that the layout lacks are left out."""
        ref = Reference("localhost", "layout", digest=root.digest)
        pending, manifests, seen = [root], set[str](), set[str]()
        while pending:
            descriptor = pending.pop()
            if descriptor.digest in manifests or (
                descriptor is not root and not layout.holds(descriptor.digest)
            ):
                continue
            manifests.add(descriptor.digest)
            data = layout.manifest(ref, descriptor, cancel)
            self._store.put(data)
            what = f"the manifest {descriptor.digest[:19]}"
            body = read_json(what, data)
            if descriptor.media_type in INDEXES:
                pending += [descriptor_from(what, entry) for entry in objects_in(what, body, "manifests")]
                continue
            blobs = [descriptor_from(what, body.get("config"))]
            blobs += [descriptor_from(what, entry) for entry in objects_in(what, body, "layers")]
            for blob in blobs:
                if blob.digest in seen:
                    continue
                seen.add(blob.digest)
                name = f"loading {blob.digest[7:19]}"
                report(blob.digest, name, 0, blob.size, False)
                fetch(self._store, layout, ref, blob, cancel)
                report(blob.digest, name, blob.size, blob.size, True)
        return Descriptor(media_type=root.media_type, digest=root.digest, size=root.size)


def _names(entry: Descriptor) -> list[str]:
    """Return the whole names that an entry of ``index.json`` gives; a bare tag names no image."""
    name = entry.annotations.get(IMAGE_NAME) or entry.annotations.get(REF_NAME, "")
    if not name or (name == entry.annotations.get(REF_NAME) and "/" not in name and ":" not in name):
        return []
    return [str(parse(name).with_default_tag())]


def _platforms(entries: Sequence[Descriptor]) -> str:
    names = sorted(
        {platforms.format(e.platform) for e in entries if e.platform and e.platform.os != NOT_A_PLATFORM}
    )
    return f"it has {', '.join(names)}" if names else "the index is empty"


def _last_history(config: Mapping[str, Any]) -> Mapping[str, Any]:
    history = config.get("history")
    last = history[-1] if isinstance(history, list) and history else {}
    return last if isinstance(last, dict) else {}
