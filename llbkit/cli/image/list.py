# SPDX-License-Identifier: Apache-2.0
"""``llbkit images``."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import click


@click.command("images")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="Output format."
)
@click.option("--quiet", "-q", is_flag=True, help="Print ids only.")
@click.option("--no-trunc", is_flag=True, help="Do not truncate ids.")
@click.pass_context
def command(ctx: click.Context, /, form: str, quiet: bool, no_trunc: bool) -> None:
    """List local images."""
    from llbkit.engine.embedded import Engine
    from llbkit.progress.model import amount

    with Engine(root=ctx.obj["root"]) as engine:
        found = engine.images.list()
    if form == "json":
        click.echo(json.dumps([asdict(image) for image in found], indent=2))
        return
    if quiet:
        for digest in dict.fromkeys(image.id for image in found):
            click.echo(digest if no_trunc else short_id(digest))
        return
    rows = [("NAME", "IMAGE ID", "CREATED", "SIZE")]
    rows += [
        (
            image.name,
            image.id if no_trunc else short_id(image.id),
            f"{age(time.time() - image.created_at)} ago",
            "damaged" if image.damaged else amount(image.size),
        )
        for image in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        click.echo(
            "   ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[3]])
        )


def short_id(digest: str) -> str:
    """Return the first twelve digits of a digest."""
    return digest.partition(":")[2][:12]


def age(seconds: float) -> str:
    """Return a duration in words, rounded down: ``3 hours``."""
    for unit, size in (("week", 604800), ("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds >= 2 * size or (unit in ("hour", "day") and seconds >= size) or unit == "second":
            count = max(0, int(seconds // size))
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    raise AssertionError("a second is the smallest unit")
