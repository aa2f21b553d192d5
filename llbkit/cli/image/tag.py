# SPDX-License-Identifier: Apache-2.0
"""``llbkit tag``."""

from __future__ import annotations

import click


@click.command("tag")
@click.argument("source")
@click.argument("target")
@click.pass_context
def command(ctx: click.Context, /, source: str, target: str) -> None:
    """Create the name TARGET for the image SOURCE (a name or id)."""
    from llbkit.engine.embedded import Engine

    with Engine(root=ctx.obj["root"]) as engine:
        engine.images.tag(source, target)
