# SPDX-License-Identifier: Apache-2.0
"""``llbkit pull``."""

from __future__ import annotations

import click

from llbkit.cli.execute import execute, progress_flags
from llbkit.cli.image.list import short_id


@click.command("pull")
@click.argument("names", metavar="IMAGE...", nargs=-1, required=True)
@click.option(
    "--platform", metavar="OS/ARCH|all", default="", help="Platform to pull.  [default: this machine's]"
)
@progress_flags
@click.pass_context
def command(ctx: click.Context, /, names: tuple[str, ...], platform: str, progress: str, quiet: bool) -> None:
    """Pull images from their registries into the local store."""
    for name in names:
        image = execute(
            ctx.obj["root"],
            "quiet" if quiet else progress,
            lambda engine, sink, name=name: engine.images.pull(name, platform=platform, progress=sink),  # type: ignore[misc]
        ).value
        click.echo(image.name if quiet else f"Pulled {image.name} ({short_id(image.id)})")
