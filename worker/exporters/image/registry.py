# SPDX-License-Identifier: Apache-2.0
"""``type=registry``: ``type=image`` that is pushed and not kept."""

from __future__ import annotations

from dataclasses import replace

from llbkit.worker.exporters.base import ExportRequest, Run
from llbkit.worker.exporters.image import image


def export(request: ExportRequest, run: Run) -> dict[str, str]:
    """Push the image and return the response.

    Raises:
        WorkerError: an attribute or name is wrong, or a registry refuses.
    """
    return image.export(_pushed(request), run)


def read(request: ExportRequest) -> None:
    """Read the attributes and names, as far as they are known before there is a result.

    Raises:
        ExportError: one is unknown or wrong.
    """
    image.read(_pushed(request))


def _pushed(request: ExportRequest) -> ExportRequest:
    return replace(request, attrs={"push": "true", "store": "false", **request.attrs})
