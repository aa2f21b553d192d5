# SPDX-License-Identifier: Apache-2.0
"""``type=docker``: an archive that ``docker load`` reads. It is an OCI layout with Docker's ``manifest.json`` added."""

from __future__ import annotations

from llbkit.worker.content.archive import blob_path, compact
from llbkit.worker.exporters.base import ExportError, ExportRequest, Run
from llbkit.worker.exporters.image import oci
from llbkit.worker.exporters.image.archives import dated, references, write_archive
from llbkit.worker.exporters.image.commit import Image, commit
from llbkit.worker.oci import Descriptor


def export(request: ExportRequest, run: Run) -> dict[str, str]:
    """Write the archive and return the response.

    Raises:
        WorkerError: an attribute is wrong, there are several platforms, or the archive cannot be written.
    """
    if request.multi:
        raise ExportError(
            "type=docker does not support multiple platforms",
            help="use type=oci or build a single --platform",
        )
    tar, options = oci.read(request)
    image = dated(commit(request, options, run), options, run)
    assert image.config is not None
    write_archive(
        request, image, options, run, tar=tar, manifest=_manifest(image, image.config, options.names)
    )
    return image.response(options.names)


def _manifest(image: Image, config: Descriptor, names: tuple[str, ...]) -> bytes:
    tags = [ref.familiar for ref in references(names)]
    entry = {
        "Config": blob_path(config.digest),
        "RepoTags": tags or None,
        "Layers": [blob_path(layer.digest) for layer in image.layers],
    }
    return compact([entry])
