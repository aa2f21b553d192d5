# SPDX-License-Identifier: Apache-2.0
"""Export a frontend's result to the requested outputs."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from llbkit.frontends.base import BuildResult, PlatformResult
from llbkit.llb import Graph
from llbkit.progress.display_step import as_display_step
from llbkit.request.csvflags import FlagError
from llbkit.request.platformcheck import platform_warnings
from llbkit.request.values import BuildRequest, Output
from llbkit.solver.events import Progress
from llbkit.solver.passes import Seen
from llbkit.solver.ports import Result
from llbkit.solver.schedule.flight import together
from llbkit.worker.base import StatusReport
from llbkit.worker.worker import LocalWorker

Value = Callable[[Graph, Seen], Awaitable[Result | None]]
"""``value(graph, seen)`` solves a graph of whose head ``seen`` is seen; None is scratch."""

if TYPE_CHECKING:
    from llbkit.worker.exporters.base import ExportRequest

_TITLES = {
    "docker": "exporting to docker image format",
    "image": "exporting to image",
    "local": "exporting to client directory",
    "oci": "exporting to oci image format",
    "tar": "exporting to client tarball",
}

_FILES_ONLY = ("local", "tar")
"""Outputs that write files and no layers."""


def seen_by(outputs: Sequence[Output]) -> Seen:
    """Return what outputs see of a result; none at all may be followed by an image of the same steps."""
    return Seen.FILES if outputs and all(output.type in _FILES_ONLY for output in outputs) else Seen.LAYERS


def check_outputs(request: BuildRequest) -> None:
    """Check the attributes and destinations of every output before anything is built.

    Raises:
        FlagError: an attribute is unknown or makes no sense, or a destination cannot be written.
    """
    outputs = [output for output in request.outputs if output.type != "cacheonly"]
    if not outputs:
        return
    from llbkit.worker.exporters.base import ExportError, ExportRequest
    from llbkit.worker.exporters.export import check

    for output in outputs:
        dest = _file(output)
        try:
            check(output.type, ExportRequest(results=(), attrs=output.attrs, names=request.names, dest=dest))
        except ExportError as error:
            raise FlagError(f"--output type={output.type}: {error}", help=error.help) from error
        if dest is not None:
            _check_destination(output, dest)


def _check_destination(output: Output, dest: Path) -> None:
    directory = output.type == "local" or not output.flag("tar", True)
    if dest.exists() and dest.is_dir() is not directory:
        kind = "not a directory" if directory else "a directory"
        raise FlagError(f"--output type={output.type}: {dest} is {kind}", help="choose another dest")
    parent = dest if dest.exists() else dest.absolute().parent
    while directory and not parent.exists():
        parent = parent.parent
    if not parent.exists():
        raise FlagError(
            f"--output type={output.type}: directory {parent} does not exist", help=f"mkdir -p {parent}"
        )
    if not os.access(parent, os.W_OK):
        raise FlagError(f"--output type={output.type}: {parent} is not writable", help="choose another dest")


async def export_all(
    result: BuildResult,
    request: BuildRequest,
    worker: LocalWorker,
    value: Value,
    progress: Progress,
    stdout: BinaryIO | None,
) -> Mapping[str, str]:
    """Solve every platform's result and write every output; return the exporters' answers, later ones winning.

    Raises:
        VertexError: a step failed.
        WorkerError: an output cannot be written.
    """
    seen = seen_by(request.outputs)
    values = await together(*(_value(one, seen, value) for one in result.results))
    outputs = [output for output in request.outputs if output.type != "cacheonly"]
    if not outputs:
        if warnings := platform_warnings(request, result):
            await as_display_step("verify", "Verifying build result", progress, _nothing, warnings=warnings)
        return {}
    from llbkit.worker.exporters.base import ExportRequest, PlatformExport

    exports = [
        PlatformExport(
            id=one.id,
            platform=one.platform,
            snapshot=await worker.snapshot(value),
            config=one.config,
            base_config=one.base_config,
            metadata=one.metadata,
        )
        for one, value in zip(result.results, values, strict=True)
    ]
    response: dict[str, str] = {}
    for number, output in enumerate(outputs):
        wanted = ExportRequest(
            results=tuple(exports),
            multi=result.multi,
            metadata=result.metadata,
            attrs=_attrs(output, request.options),
            names=request.names,
            dest=_file(output),
            stream=stdout if output.dest == "-" else None,
        )
        warnings = platform_warnings(request, result) if number == 0 else []
        response |= await _one(number, output, wanted, worker, progress, warnings)
    return response


def _attrs(output: Output, options: Mapping[str, str]) -> Mapping[str, str]:
    """Return an output's attributes; the time is that of the build argument if it is a number, or none if it is empty.

    What else the argument may be (a name) only a frontend understands: its answer has the time then.
    """
    from llbkit.worker.exporters.base import EPOCH_ATTRIBUTE, parse_epoch

    value = options.get("build-arg:SOURCE_DATE_EPOCH")
    if value is None or EPOCH_ATTRIBUTE in output.attrs or (value and parse_epoch(value) is None):
        return output.attrs
    return {**output.attrs, EPOCH_ATTRIBUTE: value}


async def _nothing(report: StatusReport) -> None:
    """Do the work of a step that only warns."""


def _file(output: Output) -> Path | None:
    return Path(output.dest) if output.dest not in ("", "-") else None


async def _value(one: PlatformResult, seen: Seen, value: Value) -> Result | None:
    return await value(one.ref.definition(), seen) if one.ref is not None else None


async def _one(
    number: int,
    output: Output,
    wanted: ExportRequest,
    worker: LocalWorker,
    progress: Progress,
    warnings: Sequence[str],
) -> dict[str, str]:
    """Write one output, shown as a step of its own."""
    return await as_display_step(
        f"export-{number}",
        _TITLES[output.type],
        progress,
        lambda report: worker.export(output.type, wanted, report),
        warnings=warnings,
    )
