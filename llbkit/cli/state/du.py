# SPDX-License-Identifier: Apache-2.0
"""``llbkit du``, and the display of disk usage."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from llbkit.worker.state.gc import Usage


@click.command("du")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="Output format."
)
@click.option(
    "--filter",
    "filters",
    metavar="FILTER",
    multiple=True,
    help="Filter: type=exec.cachemount, id=..., description~=REGEX, inuse.",
)
@click.pass_context
def command(ctx: click.Context, /, form: str, filters: tuple[str, ...]) -> None:
    """Show disk usage, and what `llbkit prune` can free."""
    from llbkit.engine.embedded import Engine

    with Engine(root=ctx.obj["root"]) as engine:
        rows = engine.worker.collector.usage(tuple(map(conditions, filters)))
    show(rows, form)
    if form == "table":
        from llbkit.progress.model import amount

        free = sum(row.size for row in rows if row.reclaimable)
        click.echo(f"Reclaimable: {amount(free)}")
        click.echo(f"Total:       {amount(sum(row.size for row in rows))}")


def conditions(text: str) -> str:
    """Return a ``--filter`` of docker's form (``key=value``) in the form of `llbkit.worker.state.usagefilter` (``key==value``)."""
    return re.sub(r"(?<![=!~])=(?!=)", "==", text, count=1)


def show(rows: Sequence[Usage], form: str) -> None:
    """Print rows as a table, or as a JSON list of objects with the fields of `llbkit.worker.state.gc.Usage`."""
    if form == "json":
        click.echo(json.dumps([asdict(row) for row in rows], indent=2))
        return
    from llbkit.progress.model import amount

    click.echo(f"{'ID':<19}  {'TYPE':<11}  {'RECLAIMABLE':<11}  {'SIZE':>8}  {'LAST USED':<19}  DESCRIPTION")
    for row in rows:
        used = datetime.fromtimestamp(row.last_used_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        free = "true" if row.reclaimable else "false"
        line = f"{row.id[:19]:<19}  {row.kind:<11}  {free:<11}  {amount(row.size):>8}  {used}  {row.description[:60]}"
        click.echo(line.rstrip())
