# SPDX-License-Identifier: Apache-2.0
"""``llbkit save``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from llbkit.cli.execute import run_loop
from llbkit.request.csvflags import FlagError


@click.command("save")
@click.argument("names", metavar="IMAGE...", nargs=-1, required=True)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write.  [default: standard output]",
)
@click.pass_context
def command(ctx: click.Context, /, names: tuple[str, ...], output: Path | None) -> None:
    """Save images to one tar archive: `docker load` and `llbkit load` read it, and it is an OCI layout."""
    from llbkit.engine.embedded import Engine
    from llbkit.worker.exporters.image.archives import written

    if output is None and sys.stdout.isatty():
        raise FlagError("refusing to write an archive to a terminal", help="use --output FILE, or redirect")
    with Engine(root=ctx.obj["root"]) as engine:
        if output is None:
            run_loop(engine.images.save(names, sys.stdout.buffer))
            sys.stdout.buffer.flush()
            return
        with written(output) as stream:
            run_loop(engine.images.save(names, stream))
