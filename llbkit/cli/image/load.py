# SPDX-License-Identifier: Apache-2.0
"""``llbkit load``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from llbkit.cli.execute import execute, progress_flags, scratch_directory
from llbkit.request.csvflags import FlagError


@click.command("load")
@click.option(
    "--input",
    "-i",
    "path",
    type=click.Path(exists=True, path_type=Path),
    help="Archive or OCI layout.  [default: standard input]",
)
@progress_flags
@click.pass_context
def command(ctx: click.Context, /, path: Path | None, progress: str, quiet: bool) -> None:
    """Load images from an archive of `llbkit save` or `docker save`, or an OCI layout, compressed or not."""
    if path is None and sys.stdin.isatty():
        raise FlagError("no archive on standard input", help="use --input FILE, or redirect")
    with scratch_directory(ctx.obj["root"]) as scratch:
        if path is None:
            path = scratch / "archive"
            with path.open("wb") as copy:
                shutil.copyfileobj(sys.stdin.buffer, copy)
        where = path
        loaded = execute(
            ctx.obj["root"],
            "quiet" if quiet else progress,
            lambda engine, sink: engine.images.load(where, progress=sink),
        ).value
    for image in loaded:
        click.echo(f"Loaded image: {image.name}")
