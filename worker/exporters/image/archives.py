# SPDX-License-Identifier: Apache-2.0
"""Code shared by the ``oci`` and ``docker`` exporters: the index of names, and the destination of the archive."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from llbkit.llb.address.reference import Reference, parse
from llbkit.worker.base import StorageError
from llbkit.worker.content.archive import write_directory, write_tar
from llbkit.worker.content.layout import IMAGE_NAME, REF_NAME
from llbkit.worker.content.store import DamagedBlobError
from llbkit.worker.exporters.base import ExportError, ExportRequest, ImageOptions, Run
from llbkit.worker.exporters.image import rfc3339
from llbkit.worker.exporters.image.commit import Image

_UNNAMED = "latest"
"""The tag of an image without a name in a layout directory: a descriptor without one could only be found by its digest."""

CREATED = "org.opencontainers.image.created"


def references(names: tuple[str, ...]) -> list[Reference]:
    """Return the references of image names, each with a tag or digest.

    Raises:
        llbkit.llb.address.reference.InvalidReferenceError: one is malformed.
    """
    return [parse(name).with_default_tag() for name in names]


def dated(image: Image, options: ImageOptions, run: Run) -> Image:
    """Return the image with the time of its making, or SOURCE_DATE_EPOCH, as an annotation of its root."""
    epoch = options.epochs.whole
    seconds = int(epoch if epoch is not None else run.tools.clock())
    annotations = {CREATED: rfc3339.write(seconds * 1_000_000_000), **image.root.annotations}
    return replace(image, manifests=(*image.manifests[:-1], replace(image.root, annotations=annotations)))


def layout_index(image: Image, options: ImageOptions, *, tag: str = "") -> dict[str, Any]:
    """Return ``index.json``: one descriptor for each name, or one with ``tag`` if the image has no name."""
    entries = []
    refs: list[Reference | None] = [*references(options.names)]
    for ref in refs or [None]:
        root = image.root.to_json()
        annotations = dict(image.root.annotations)
        if ref is not None:
            annotations |= {IMAGE_NAME: str(ref)} | ({REF_NAME: ref.tag} if ref.tag else {})
        elif tag:
            annotations[REF_NAME] = tag
        root.pop("annotations", None)
        platform = root.pop("platform", None)
        root["annotations"] = dict(sorted(annotations.items()))
        if platform is not None:
            root["platform"] = platform
        entries.append(root)
    return {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": entries,
    }


def write_archive(
    request: ExportRequest,
    image: Image,
    options: ImageOptions,
    run: Run,
    *,
    tar: bool,
    manifest: bytes | None,
) -> None:
    """Write an image, which is `dated`, to the request's destination.

    Raises:
        StorageError: it cannot be written.
    """
    index = layout_index(image, options, tag="" if tar else _UNNAMED)
    blobs = [*image.blobs, *image.manifests]
    name = str(request.dest) if request.dest is not None else "standard output"
    run.report("archive", f"writing {name}", 0, 0, False)
    image.fetch_missing(run)
    if not tar:
        if request.dest is None:
            raise ExportError("tar=false requires a directory", help="add dest=DIR")
        write_directory(request.dest, store=run.tools.store, blobs=blobs, index=index, cancel=run.cancel)
    else:
        with output(request) as stream:
            write_tar(
                stream,
                store=run.tools.store,
                blobs=blobs,
                index=index,
                docker_manifest=manifest,
                cancel=run.cancel,
            )
    size = sum(blob.size for blob in blobs)
    run.report("archive", f"writing {name}", size, size, True)


@contextmanager
def output(request: ExportRequest) -> Iterator[BinaryIO]:
    """Open the request's file; it appears under its name only when it is whole. Streams are flushed.

    Raises:
        StorageError: it cannot be written.
    """
    if request.stream is not None:
        try:
            yield request.stream
            request.stream.flush()
        except BrokenPipeError as error:
            raise StorageError(
                "the reader of the output has gone away", help="check the command that reads the output"
            ) from error
        return
    if request.dest is None:
        raise ExportError(
            "the output has no destination", help="add dest=FILE, or dest=- for standard output"
        )
    with written(request.dest) as stream:
        yield stream


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing; it appears under its name only when it is whole. Devices and pipes are written directly.

    Raises:
        StorageError: it cannot be written.
    """
    if path.is_dir():
        raise ExportError(f"{path} is a directory", help="use a file: dest=FILE")
    special = path.exists() and not path.is_file()
    temporary = path if special else path.with_name(f".{path.name}.{os.getpid()}-{time.time_ns():x}")
    made = False
    try:
        with temporary.open("wb") as stream:
            made = not special
            yield stream
        if not special:
            temporary.replace(path)
    except DamagedBlobError:
        raise
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}",
            help="check the path, its permissions and free space",
        ) from error
    finally:
        if made:
            with suppress(FileNotFoundError):
                temporary.unlink()
