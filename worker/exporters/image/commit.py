# SPDX-License-Identifier: Apache-2.0
"""Commit results as an image: layers to blobs, configs, manifests and, where needed, an index, in the content store.

Manifests and indexes are JSON indented by two spaces in the order of the specification's structs: the bytes that
BuildKit writes. Layers that came from a registry and were never needed stay there: their blob is named in the manifest
all the same, and is fetched only by an exporter that must hold it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from llbkit.llb.ir.ops import Platform
from llbkit.records import dataclass
from llbkit.worker.base import LayerBlob
from llbkit.worker.content.archive import compact, go_escape
from llbkit.worker.exporters.base import ExportError, ExportRequest, ImageOptions, PlatformExport, Run
from llbkit.worker.exporters.image.annotations import Annotations, collect
from llbkit.worker.exporters.image.config import LayerFacts, image_config
from llbkit.worker.exporters.image.rewrite import rewrite_times
from llbkit.worker.oci import (
    CONFIG,
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    INDEX,
    LAYER,
    MANIFEST,
    Descriptor,
    digest_of,
)
from llbkit.worker.remote import BlobOptions, RemoteLayer, bring, describe
from llbkit.worker.snapshot.pack import kind_of

_DROPPED = ("containerd.io/uncompressed", "buildkit/createdat")
_PULLED = "pulled from an image without history"
_DROPPED_PREFIX = "containerd.io/distribution.source."


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image whose small objects are in the store.

    ``manifests`` holds children before parents, the root last. ``blobs`` are configs and layers, each once;
    ``origins`` maps those that may not be in the store to the source that has them. ``config`` is None for an index.
    """

    manifests: tuple[Descriptor, ...]
    blobs: tuple[Descriptor, ...]
    origins: Mapping[str, str]
    config: Descriptor | None
    layers: tuple[Descriptor, ...]

    @property
    def root(self) -> Descriptor:
        """The descriptor that a name points to."""
        return self.manifests[-1]

    def fetch_missing(self, run: Run) -> None:
        """Bring every blob into the store.

        Raises:
            SourceError: one cannot be fetched.
        """
        for blob in self.blobs:
            self.need(run, blob)

    def need(self, run: Run, blob: Descriptor) -> None:
        """Bring one blob into the store."""
        origin = self.origins.get(blob.digest, "")
        bring(blob, origin, store=run.tools.store, fetch=run.tools.fetch, cancel=run.cancel)

    def response(self, names: Sequence[str]) -> dict[str, str]:
        """Return the exporter response, with BuildKit's keys."""
        text = compact(self.root.to_json())
        out = {
            "containerimage.descriptor": base64.b64encode(text).decode(),
            "containerimage.digest": self.root.digest,
        }
        if self.config is not None:
            out["containerimage.config.digest"] = self.config.digest
        if names:
            out["image.name"] = ",".join(names)
        return out


@dataclass(frozen=True, slots=True)
class _Part:
    manifest: Descriptor
    config: Descriptor
    layers: tuple[Descriptor, ...]
    origins: Mapping[str, str]


def commit(request: ExportRequest, options: ImageOptions, run: Run) -> Image:
    """Make the image of a request.

    Raises:
        ExportError: the request cannot be met.
    """
    if not request.results:
        raise ExportError("nothing to export", help="the build produced no result")
    if len(request.results) > 1 and not request.multi:
        raise ExportError("multiple platforms can only be exported as an index")
    tables = [options.metadata, *(result.metadata for result in request.results)]
    all_annotations = collect(options.annotations, *tables, oci=options.oci, index=request.multi)
    parts = [
        _platform(
            result,
            options,
            run,
            collect(options.annotations, options.metadata, result.metadata, oci=options.oci),
        )
        for result in request.results
    ]
    manifests = [part.manifest for part in parts]
    if request.multi:
        manifests.append(_index(manifests, options, all_annotations, run))
    blobs = {blob.digest: blob for part in parts for blob in (part.config, *part.layers)}
    return Image(
        manifests=tuple(manifests),
        blobs=tuple(blobs.values()),
        origins={digest: origin for part in parts for digest, origin in part.origins.items()},
        config=None if request.multi else parts[0].config,
        layers=parts[0].layers,
    )


def _platform(result: PlatformExport, options: ImageOptions, run: Run, annotations: Annotations) -> _Part:
    blobs: list[LayerBlob] = []
    facts: list[LayerFacts] = []
    origins: dict[str, str] = {}
    kept = _base_layers(result)
    epoch = options.epochs.of(result.id)
    wanted = BlobOptions(
        compression=options.compression, level=options.level, force=options.force_compression, create=True
    )
    described = describe(result.snapshot, run.tools.layers, wanted, run.cancel)
    assert described is not None, "blobs are created"
    for number, layer in enumerate(described):
        blob = LayerBlob(descriptor=layer.descriptor, diff_id=layer.diff_id)
        if layer.source:
            origins[blob.descriptor.digest] = layer.source
        if options.rewrite_timestamp and epoch is not None and number >= kept:
            blob = rewrite_times(blob, epoch, options, run)
        blobs.append(blob)
        facts.append(_facts(layer, blob.diff_id))
    config = image_config(result.config, result.platform, facts, epoch=epoch, base_config=result.base_config)
    store = run.tools.store
    store.put(config)
    config_descriptor = Descriptor(
        media_type=CONFIG if options.oci else DOCKER_CONFIG, digest=digest_of(config), size=len(config)
    )
    layers = tuple(as_layer(blob.descriptor, options.oci) for blob in blobs)
    key = result.id or "/".join(
        part for part in (result.platform.os, result.platform.architecture, result.platform.variant) if part
    )
    body: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST if options.oci else DOCKER_MANIFEST,
        "config": config_descriptor.to_json(),
        "layers": [layer.to_json() for layer in layers],
    }
    if found := annotations.of("manifest", key):
        body["annotations"] = dict(sorted(found.items()))
    manifest = _put(body, str(body["mediaType"]), run)
    manifest = replace(
        manifest, annotations=annotations.of("manifest-descriptor", key), platform=_plain(result.platform)
    )
    return _Part(manifest, config_descriptor, layers, origins)


def _index(
    manifests: Sequence[Descriptor], options: ImageOptions, annotations: Annotations, run: Run
) -> Descriptor:
    body: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": INDEX if options.oci else DOCKER_LIST,
        "manifests": [manifest.to_json() for manifest in manifests],
    }
    if found := annotations.of("index"):
        body["annotations"] = dict(sorted(found.items()))
    return replace(_put(body, str(body["mediaType"]), run), annotations=annotations.of("index-descriptor"))


def _put(body: Mapping[str, object], media_type: str, run: Run) -> Descriptor:
    data = go_escape(json.dumps(body, indent=2, ensure_ascii=False)).encode()
    run.tools.store.put(data)
    return Descriptor(media_type=media_type, digest=digest_of(data), size=len(data))


def _facts(layer: RemoteLayer, diff_id: str) -> LayerFacts:
    if layer.source:
        return LayerFacts(diff_id=diff_id, description=_PULLED, created=None)
    created = int(layer.created_at * 1_000_000_000) if layer.created_at else None
    return LayerFacts(diff_id=diff_id, description=layer.description, created=created)


def _base_layers(result: PlatformExport) -> int:
    if result.base_config is None:
        return 0
    rootfs = json.loads(result.base_config).get("rootfs") or {}
    return len(rootfs.get("diff_ids") or [])


def _plain(platform: Platform) -> Platform:
    return (
        replace(platform, variant="")
        if (platform.architecture, platform.variant) == ("arm64", "v8")
        else platform
    )


def as_layer(blob: Descriptor, oci: bool) -> Descriptor:
    """Return a layer's descriptor as it is written in a manifest: media type family, annotations."""
    kind = kind_of(blob.media_type)
    known = blob.media_type.startswith((LAYER, DOCKER_LAYER))
    media_type = blob.media_type
    if known and oci:
        media_type = LAYER + ("" if kind == "uncompressed" else f"+{kind}")
    elif known:
        media_type = DOCKER_LAYER + ("" if kind == "uncompressed" else f".{kind}")
    annotations = {
        key: value
        for key, value in blob.annotations.items()
        if oci and key not in _DROPPED and not key.startswith(_DROPPED_PREFIX)
    }
    return replace(blob, media_type=media_type, annotations=annotations, platform=None)
