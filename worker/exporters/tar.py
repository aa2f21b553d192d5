# SPDX-License-Identifier: Apache-2.0
"""``type=tar``: the result's files as a tar archive, sorted, to a file or a stream.

With SOURCE_DATE_EPOCH every file has that time, as in BuildKit.
"""

from __future__ import annotations

from llbkit.worker.archive.tarwrite import write_end, write_tree
from llbkit.worker.exporters.base import Attrs, Epochs, ExportRequest, Run, files_options, platform_dir
from llbkit.worker.exporters.image.archives import output
from llbkit.worker.exporters.image.merged import sources, union


def read(request: ExportRequest) -> tuple[bool, Epochs]:
    """Return whether platforms get directories of their own, and the times of their files.

    Raises:
        ExportError: an attribute is unknown or wrong.
    """
    return files_options(request, Attrs(request.attrs))


def export(request: ExportRequest, run: Run) -> dict[str, str]:
    """Write the archive and return the (empty) response.

    Raises:
        WorkerError: an attribute is wrong, or the archive cannot be written.
    """
    split, epochs = read(request)
    run.report("tar", "sending tarball", 0, 0, False)
    with sources(request, run) as found:
        directories: set[str] | None = None
        if not split and len(found) > 1:
            union(found, run.cancel)
            directories = set()
        with output(request) as stream:

            def write(data: bytes) -> None:
                run.cancel.check()
                stream.write(data)

            for result, (_, root) in zip(request.results, found, strict=True):
                prefix = platform_dir(result.platform) if split else ""
                write_tree(root, write, prefix=prefix, time=epochs.of(result.id), directories=directories)
            write_end(write)
    run.report("tar", "sending tarball", 0, 0, True)
    return {}
