# SPDX-License-Identifier: Apache-2.0
"""``llbkit push``."""

from __future__ import annotations

import click

from llbkit.cli.execute import execute, progress_flags


@click.command("push")
@click.argument("name", metavar="IMAGE")
@progress_flags
@click.pass_context
def command(ctx: click.Context, /, name: str, progress: str, quiet: bool) -> None:
    """Push a local image to the registry of its name."""
    digest = execute(
        ctx.obj["root"],
        "quiet" if quiet else progress,
        lambda engine, sink: engine.images.push(name, progress=sink),
    ).value
    click.echo(digest if quiet else f"Pushed {name}@{digest}")
