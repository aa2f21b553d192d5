# SPDX-License-Identifier: Apache-2.0
"""``llbkit rmi``."""

from __future__ import annotations

import click


@click.command("rmi")
@click.argument("names", metavar="IMAGE...", nargs=-1, required=True)
@click.option("--force", "-f", is_flag=True, help="Do not fail if an image does not exist.")
@click.pass_context
def command(ctx: click.Context, /, names: tuple[str, ...], force: bool) -> None:
    """Remove images, by name or id; `llbkit prune` then frees what only they used."""
    from llbkit.engine.embedded import Engine
    from llbkit.worker.base import SourceError

    with Engine(root=ctx.obj["root"]) as engine:
        for text in names:
            try:
                removed = engine.images.remove(text)
            except SourceError:
                if not force:
                    raise
                continue
            click.echo(f"Untagged: {removed.name}")
