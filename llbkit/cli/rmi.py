# SPDX-License-Identifier: Apache-2.0
"""``llbkit rmi``."""

from __future__ import annotations

import click


@click.command("rmi")
@click.argument("names", metavar="IMAGE...", nargs=-1, required=True)
@click.pass_context
def command(ctx: click.Context, /, names: tuple[str, ...]) -> None:
    """Remove images from the local store; `llbkit prune` frees what only they used."""
    from llb.reference import parse
    from llbkit.engine import Engine

    with Engine(root=ctx.obj["root"]) as engine:
        for text in names:
            name = str(parse(text).with_default_tag())
            engine.worker.images.remove(name)
            click.echo(f"removed {name}")
