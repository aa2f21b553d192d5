# SPDX-License-Identifier: Apache-2.0
"""``llbkit images``."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click


@click.command("images")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="How to show them."
)
@click.option("--quiet", "-q", is_flag=True, help="Digests only.")
@click.pass_context
def command(ctx: click.Context, /, form: str, quiet: bool) -> None:
    """List the images of the local store."""
    from llbkit.engine import Engine

    with Engine(root=ctx.obj["root"]) as engine:
        rows = [_row(image) for image in engine.worker.images.list()]
    if quiet:
        for row in rows:
            click.echo(row["digest"])
    elif form == "json":
        click.echo(json.dumps(rows, indent=2))
    else:
        width = max([4, *(len(row["name"]) for row in rows)])
        click.echo(f"{'NAME':<{width}}  {'DIGEST':<19}  CREATED")
        for row in rows:
            click.echo(f"{row['name']:<{width}}  {row['digest'][:19]}  {row['created']}")


def _row(image: Any) -> dict[str, str]:
    created = datetime.fromtimestamp(image.created_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return {"name": image.name, "digest": image.descriptor.digest, "created": created}
