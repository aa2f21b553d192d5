# SPDX-License-Identifier: Apache-2.0
"""``type=image``: the image under its names in the local image store; ``push=true`` sends it to their registries.

``type=registry`` is ``type=image,push=true,store=false``.
"""

from __future__ import annotations

from dataclasses import replace

from llbkit.llb.address.reference import Reference, parse
from llbkit.records import dataclass
from llbkit.worker.exporters.base import Attrs, ExportError, ExportRequest, ImageOptions, Run, image_options
from llbkit.worker.exporters.image.commit import Image, commit
from llbkit.worker.registry.push import Push

_IMAGE_SCHEME = "docker-image://"


@dataclass(frozen=True, slots=True)
class _Delivery:
    push: bool
    by_digest: bool
    insecure: bool | None
    store: bool
    canonical: bool
    dangling: str
    dangling_only: bool


def export(request: ExportRequest, run: Run) -> dict[str, str]:
    """Store and push the image and return the response.

    Raises:
        WorkerError: an attribute or name is wrong, or a registry refuses.
    """
    delivery, options = _read(request)
    targets = _targets(options, delivery)
    image = commit(request, options, run)
    stored = _stored_names(image, options, delivery)
    if delivery.store:
        image.fetch_missing(run)
        for name in stored:
            run.tools.images.put(name, image.root)
    for target in targets if delivery.push else ():
        _push(target, image, delivery, run)
    return image.response(options.names or [name for name in stored if delivery.store])


def read(request: ExportRequest) -> None:
    """Read the attributes and names, as far as they are known before there is a result.

    Raises:
        ExportError: one is unknown or wrong.
    """
    delivery, options = _read(request)
    if request.attrs.get("name") != "*":
        _targets(options, delivery)


def _read(request: ExportRequest) -> tuple[_Delivery, ImageOptions]:
    attrs = Attrs(request.attrs)
    delivery = _Delivery(
        push=attrs.flag("push", bare=True),
        by_digest=attrs.flag("push-by-digest", bare=True),
        insecure=attrs.flag("registry.insecure", bare=True) or None,
        store=attrs.flag("store", True, bare=True),
        canonical=attrs.flag("name-canonical", bare=True),
        dangling=attrs.text("dangling-name-prefix"),
        dangling_only=attrs.flag("danging-name-empty-only", bare=True),
    )
    return delivery, image_options(request, attrs)


def _targets(options: ImageOptions, delivery: _Delivery) -> list[Reference]:
    targets = [parse(name) for name in options.names]
    if delivery.push and not targets:
        raise ExportError("an image without a name cannot be pushed", help="name it with --tag or name=")
    for ref in targets:
        if delivery.by_digest and ref.tag:
            raise ExportError(
                f"cannot push {ref.familiar} by digest: it has a tag",
                help=f"use {ref.domain}/{ref.path}",
            )
        if ref.digest:
            raise ExportError(f"{ref.familiar}: an image cannot be named by a digest", help="use a tag")
    return [ref if delivery.by_digest else ref.with_default_tag() for ref in targets]


def _stored_names(image: Image, options: ImageOptions, delivery: _Delivery) -> list[str]:
    refs = [parse(name) for name in options.names]
    names = [str(ref.with_default_tag()) for ref in refs]
    if delivery.canonical:
        names += [str(replace(ref, tag="", digest=image.root.digest)) for ref in refs]
    if delivery.dangling and not (delivery.dangling_only and names):
        names.append(f"{delivery.dangling}@{image.root.digest}")
    return names


def _push(target: Reference, image: Image, delivery: _Delivery, run: Run) -> None:
    sources: dict[str, list[str]] = {}
    for digest, origin in image.origins.items():
        if origin.startswith(_IMAGE_SCHEME):
            sources.setdefault(digest, []).append(parse(origin.removeprefix(_IMAGE_SCHEME)).name)
    run.tools.pusher.push(
        target,
        Push(manifests=image.manifests, blobs=image.blobs, sources=sources),
        cancel=run.cancel,
        need=lambda blob: image.need(run, blob),
        report=run.report,
        by_digest=delivery.by_digest,
        insecure=delivery.insecure,
    )
