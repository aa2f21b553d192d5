# SPDX-License-Identifier: Apache-2.0
"""``llbkit build``: the main job."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from llbkit.cli.buildx import DockerCommand, docker_flags
from llbkit.cli.execute import (
    check_files,
    execute,
    local_inputs,
    mode_of,
    outputs_of,
    report,
    report_flags,
    result_flags,
    scratch_directory,
)
from llbkit.cli.flags import frontend_options, key_values, source_flags
from llbkit.request import context as contexts
from llbkit.request.values import BuildRequest, Output


@click.command("build", cls=DockerCommand, short_help="Build an image.")
@click.argument("where", metavar="PATH | URL | -", default=".")
@source_flags
@result_flags
@click.option(
    "--call",
    metavar="METHOD",
    default="build",
    help="Call a frontend method: build, check, outline, targets, convertllb or subrequests.describe [,format=json][,ignorestatus=true].",
)
@click.option("--check", is_flag=True, help="Shorthand for --call=check.")
@report_flags
@docker_flags
@click.pass_context
def command(ctx: click.Context, /, where: str, **values: Any) -> int:
    """Build an image from a Dockerfile or another language.

    Without --output the image goes to the local store (see `llbkit images`).
    """
    from llbkit.cli.calls import Call, show

    call = Call.parse("check" if values["check"] else values["call"])
    check_files(values)
    with scratch_directory(ctx.obj["root"]) as scratch:
        request = _request(where, values, scratch)
        if call.request:
            options = {**request.options, "requestid": call.request}
            request = replace(request, options=options, outputs=(Output(type="cacheonly"),))
        done = execute(
            ctx.obj["root"],
            "quiet" if call.request else mode_of(values),
            lambda engine, sink: engine.build(request, progress=sink, stdout=sys.stdout.buffer),
            repeatable=all(output.dest != "-" for output in request.outputs),
        )
        if call.request:
            return show(call, done.value, _dockerfile(request, scratch))
    report(done, request.outputs, values)
    return 0


def _request(where: str, values: dict[str, Any], scratch: Path) -> BuildRequest:
    named = key_values("--build-context", values["contexts"])
    found = contexts.resolve(where, values["dockerfile"], named, stdin=sys.stdin.buffer, scratch=scratch)
    return BuildRequest(
        frontend=values["frontend"],
        options={**found.options, **frontend_options(values)},
        locals=found.locals,
        oci_stores=found.oci_stores,
        inputs=found.inputs,
        downloads=found.downloads,
        outputs=outputs_of(values, usual=(Output(type="image"),)),
        **local_inputs(values),
    )


def _dockerfile(request: BuildRequest, scratch: Path) -> Path | None:
    """Return where the Dockerfile lies; None if it came from elsewhere."""
    folder = request.locals.get("dockerfile")
    if folder is None or folder.resolve().is_relative_to(scratch.resolve()):
        return None
    return folder / request.options.get("filename", "Dockerfile")
