# SPDX-License-Identifier: Apache-2.0
"""``llbkit llb run``: execute a graph from a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from llbkit.cli.execute import (
    check_files,
    execute,
    local_inputs,
    mode_of,
    outputs_of,
    report,
    report_flags,
    result_flags,
)
from llbkit.cli.flags import key_values
from llbkit.request.csvflags import FlagError
from llbkit.request.values import Output


@click.command("run", short_help="Execute a graph.")
@click.argument("where", metavar="FILE | -", default="-")
@result_flags
@click.option("--local", "directories", multiple=True, metavar="NAME=DIR", help="Directory for local://NAME.")
@click.option(
    "--oci-layout", "layouts", multiple=True, metavar="NAME=DIR", help="OCI layout for oci-layout://NAME."
)
@click.option("--no-cache", is_flag=True, help="Do not use the cache.")
@click.option("--platform", metavar="OS/ARCH", help="Platform of the result.  [default: the last step's]")
@click.option(
    "--image-config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Image config (JSON) to export the result with.",
)
@report_flags
@click.pass_context
def command(ctx: click.Context, /, where: str, **values: Any) -> int:
    """Execute a graph: a definition, JSON or the text form, detected by content.

    \b
    llbkit compile . | llbkit llb run - --local context=. -o out

    Without --output everything is executed and nothing is written.
    """  # noqa: D301 - click's mark for lines that stay as they are
    from llbkit.engine.graphs import load, local_names
    from llbkit.grammar import DiagnosticError
    from llbkit.llb.ir import platform as platforms

    check_files(values)
    outputs = outputs_of(values, usual=(Output(type="cacheonly"),))
    directories = _directories("--local", values["directories"])
    try:
        platform = platforms.parse(values["platform"]) if values["platform"] else None
    except platforms.PlatformError as error:
        raise FlagError(f"--platform: {error}") from None
    read = load(where, stdin=sys.stdin.buffer)
    if found := read.problems():
        raise DiagnosticError(found)
    graph = read.located()
    for name in local_names(graph):
        if name not in directories:
            raise FlagError(f"the graph needs the local directory {name!r}", help=f"add --local {name}=DIR")
    config = values["image_config"].read_bytes() if values["image_config"] else None
    done = execute(
        ctx.obj["root"],
        mode_of(values),
        lambda engine, sink: engine.solve(
            graph,
            locals=directories,
            oci_stores=_directories("--oci-layout", values["layouts"]),
            outputs=outputs,
            platform=platform,
            config=config,
            no_cache=values["no_cache"],
            progress=sink,
            stdout=sys.stdout.buffer,
            **local_inputs(values),
        ),
    )
    report(done, outputs, values)
    return 0


def _directories(flag: str, items: tuple[str, ...]) -> dict[str, Path]:
    found = {name: Path(path) for name, path in key_values(flag, items).items()}
    for name, path in found.items():
        if not path.is_dir():
            raise FlagError(f"{flag} {name}: directory {path} does not exist")
    return {name: path.absolute() for name, path in found.items()}
