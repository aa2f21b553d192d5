# SPDX-License-Identifier: Apache-2.0
"""``llbkit inspect``."""

from __future__ import annotations

import json

import click


@click.command("inspect")
@click.argument("names", metavar="IMAGE...", nargs=-1, required=True)
@click.option("--platform", metavar="OS/ARCH", default="", help="Platform to show of a multi-platform image.")
@click.pass_context
def command(ctx: click.Context, /, names: tuple[str, ...], platform: str) -> None:
    """Print details of local images as JSON, in the format of `docker image inspect`."""
    from llbkit.engine.embedded import Engine

    with Engine(root=ctx.obj["root"]) as engine:
        rows = [engine.images.inspect(name, platform=platform) for name in names]
    click.echo(json.dumps(rows, indent=4))
