# SPDX-License-Identifier: Apache-2.0
"""Images whose config does not account for their layers are refused by their name."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support.remote import MemoryBlobs

from llbkit.llb.address.reference import Reference
from llbkit.llb.ir.ops import Platform
from llbkit.worker.base import SourceError
from llbkit.worker.oci import CONFIG, LAYER, MANIFEST, Descriptor, digest_of
from llbkit.worker.session.local import LocalSession
from llbkit.worker.sources.image import ImageResolver

AMD64 = Platform(os="linux", architecture="amd64")
ID = "sha256:" + "1" * 64


class OneImage:
    """A provider with one image of two layers, whose config has the given ``rootfs`` (None: it has none)."""

    def __init__(self, rootfs: object) -> None:
        body = {"os": "linux", "architecture": "amd64", **({} if rootfs is None else {"rootfs": rootfs})}
        self.config = json.dumps(body).encode()
        layers = [{"mediaType": LAYER, "digest": ID, "size": 1}] * 2
        config = {"mediaType": CONFIG, "digest": digest_of(self.config), "size": len(self.config)}
        self.body = json.dumps(
            {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
        ).encode()

    def resolve(self, ref: Reference, cancel: object) -> Descriptor:
        return Descriptor(media_type=MANIFEST, digest=digest_of(self.body), size=len(self.body))

    def manifest(self, ref: Reference, descriptor: Descriptor, cancel: object) -> bytes:
        return self.body

    def chunks(
        self, ref: Reference, descriptor: Descriptor, cancel: object, offset: int = 0
    ) -> Iterator[bytes]:
        yield self.config


@pytest.mark.parametrize(
    "rootfs",
    [
        None,
        {},
        [],
        "layers",
        {"type": "layers"},
        {"type": "layers", "diff_ids": None},
        {"type": "layers", "diff_ids": [ID]},
        {"type": "layers", "diff_ids": [ID] * 3},
        {"type": "layers", "diff_ids": [ID, "sha256:short"]},
        {"type": "layers", "diff_ids": [ID, 7]},
        {"type": "layers", "diff_ids": {"a": ID, "b": ID}},
    ],
)
def test_layers_without_diff_ids_are_refused(images, token, rootfs) -> None:
    resolver = ImageResolver(store=MemoryBlobs(), registry=OneImage(rootfs), images=images)
    with pytest.raises(SourceError, match=r"example\.test/odd/image:1: "):
        resolver.locate(
            "docker-image://example.test/odd/image:1", {}, AMD64, token, session=LocalSession(id="s")
        )


def test_layers_with_their_diff_ids_are_found(images, token) -> None:
    image = OneImage({"type": "layers", "diff_ids": [ID, ID]})
    resolver = ImageResolver(store=MemoryBlobs(), registry=image, images=images)
    found = resolver.locate(
        "docker-image://example.test/odd/image:1", {}, AMD64, token, session=LocalSession(id="s")
    )
    assert [diff_id for _, diff_id in found.layers] == [ID, ID]
