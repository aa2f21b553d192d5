# SPDX-License-Identifier: Apache-2.0
"""``type=oci``: an OCI image layout, as a tar archive or (``tar=false``) a directory, with all platforms."""

from __future__ import annotations

from llbkit.worker.exporters.base import Attrs, ExportRequest, ImageOptions, Run, image_options
from llbkit.worker.exporters.image.archives import dated, write_archive
from llbkit.worker.exporters.image.commit import commit


def read(request: ExportRequest) -> tuple[bool, ImageOptions]:
    """Return whether a tar archive is asked for, and the shared attributes.

    Raises:
        ExportError: an attribute is unknown or wrong.
    """
    attrs = Attrs(request.attrs)
    tar = attrs.flag("tar", True)
    return tar, image_options(request, attrs)


def export(request: ExportRequest, run: Run) -> dict[str, str]:
    """Write the layout and return the response.

    Raises:
        WorkerError: an attribute is wrong, or the layout cannot be written.
    """
    tar, options = read(request)
    image = dated(commit(request, options, run), options, run)
    write_archive(request, image, options, run, tar=tar, manifest=None)
    return image.response(options.names)
