# SPDX-License-Identifier: Apache-2.0
"""Archives that `docker save` wrote before it wrote OCI layouts: ``manifest.json`` names configs and plain tar layers.

Source: the image specification v1.2 of Docker (moby), "Combined Image JSON + Filesystem Changeset Format".
"""

from __future__ import annotations

import json
from typing import Any

from llbkit.llb.address.reference import parse
from llbkit.worker.archive.decompress import format_of
from llbkit.worker.base import CancelToken, SourceError
from llbkit.worker.content.layout import Layout
from llbkit.worker.content.provider import MAX_MANIFEST, Blobs
from llbkit.worker.oci import CONFIG, LAYER, MANIFEST, Descriptor, digest_of

_CHUNK = 1 << 20
_SUFFIX = {"gzip": "+gzip", "zstd": "+zstd"}
"""Of media types of layers."""


def read_legacy(layout: Layout, store: Blobs, cancel: CancelToken) -> list[tuple[list[str], Descriptor]]:
    """Take in every image of an archive; return their names, and the manifests that were made for them.

    Raises:
        SourceError: the archive is damaged.
    """
    return [_image(layout, item, store, cancel) for item in _manifest(layout)]


def _manifest(layout: Layout) -> list[dict[str, Any]]:
    try:
        items = json.loads(_small(layout, "manifest.json"))
        for item in items:
            if not (isinstance(item["Config"], str) and all(isinstance(x, str) for x in item["Layers"])):
                raise TypeError("Config and Layers name files")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SourceError(
            f"manifest.json of the archive is damaged: {error}", help="save the image again"
        ) from error
    return list(items)


def _image(
    layout: Layout, item: dict[str, Any], store: Blobs, cancel: CancelToken
) -> tuple[list[str], Descriptor]:
    config = _small(layout, item["Config"])
    store.put(config)
    layers = [_layer(layout, name, store, cancel) for name in item["Layers"]]
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": Descriptor(media_type=CONFIG, digest=digest_of(config), size=len(config)).to_json(),
        "layers": [layer.to_json() for layer in layers],
    }
    data = json.dumps(body, separators=(",", ":")).encode()
    store.put(data)
    names = [str(parse(str(tag)).with_default_tag()) for tag in item.get("RepoTags") or ()]
    return names, Descriptor(media_type=MANIFEST, digest=digest_of(data), size=len(data))


def _layer(layout: Layout, name: str, store: Blobs, cancel: CancelToken) -> Descriptor:
    stream, left = layout.open_file(name)
    kind = ""
    with stream, store.writer() as writer:
        while left > 0 and (piece := stream.read(min(_CHUNK, left))):
            cancel.check()
            if writer.size == 0:
                kind = _SUFFIX.get(format_of(piece) or "", "")
            writer.write(piece)
            left -= len(piece)
        return Descriptor(media_type=LAYER + kind, digest=writer.digest, size=writer.size)


def _small(layout: Layout, name: str) -> bytes:
    stream, size = layout.open_file(name)
    with stream:
        if size > MAX_MANIFEST:
            raise SourceError(f"{name} of the archive is larger than {MAX_MANIFEST >> 20} MiB")
        return stream.read(size)
