# SPDX-License-Identifier: Apache-2.0
"""The entry point of the exporters."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from llbkit.worker.base import CancelToken, StatusReport
from llbkit.worker.content.store import DamagedBlobError
from llbkit.worker.exporters import local, tar
from llbkit.worker.exporters.base import ExportError, ExportRequest, ExportTools, Run
from llbkit.worker.exporters.image import docker, image, oci, registry

EXPORTERS: Mapping[str, Callable[[ExportRequest, Run], dict[str, str]]] = {
    "docker": docker.export,
    "image": image.export,
    "local": local.export,
    "oci": oci.export,
    "registry": registry.export,
    "tar": tar.export,
}

_READERS: Mapping[str, Callable[[ExportRequest], object]] = {
    "docker": oci.read,
    "image": image.read,
    "local": local.read,
    "oci": oci.read,
    "registry": registry.read,
    "tar": tar.read,
}


def check(kind: str, request: ExportRequest) -> None:
    """Find what is wrong with a request that has no results yet, so that it fails before the build runs.

    Raises:
        ExportError: an attribute is not known or makes no sense, or a name is missing.
    """
    _READERS[kind](request)


def export(
    kind: str, request: ExportRequest, tools: ExportTools, *, cancel: CancelToken, report: StatusReport
) -> dict[str, str]:
    """Export a result as ``kind`` and return the exporter response, with BuildKit's keys.

    Blocking: call it on a thread of the pools (it looks at snapshots).

    Raises:
        ExportError: the kind or an attribute is not known, or cannot be met.
        WorkerError: a destination cannot be reached or written.
        DamagedBlobError: a blob of the store does not have its digest; it was removed, and nothing whole was written.
    """
    exporter = EXPORTERS.get(kind)
    if exporter is None:
        raise ExportError(f"{kind!r} is not an output type", help=f"valid types: {', '.join(EXPORTERS)}")
    run = Run(tools=tools, cancel=cancel, report=report)
    removed: set[str] = set()
    while True:
        try:
            return exporter(request, run)
        except DamagedBlobError as error:
            written = request.stream is not None or (request.dest is not None and request.dest.is_fifo())
            if written or error.digest in removed:
                raise
            removed.add(error.digest)  # so that now it is made or fetched again
