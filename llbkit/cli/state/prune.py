# SPDX-License-Identifier: Apache-2.0
"""``llbkit prune``."""

from __future__ import annotations

import re

import click

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@click.command("prune")
@click.option("--all", "-a", "everything", is_flag=True, help="Also remove cache mounts.")
@click.option("--force", "-f", is_flag=True, help="Do not prompt for confirmation.")
@click.option(
    "--filter",
    "filters",
    metavar="FILTER",
    multiple=True,
    help="Filter: until=36h for age, type=exec.cachemount, id=..., description~=REGEX.",
)
@click.option("--max-used-space", metavar="SIZE", default="0", help="Keep at most this much cache.")
@click.option("--min-free-space", metavar="SIZE", default="0", help="Stop once this much disk space is free.")
@click.option("--reserved-space", metavar="SIZE", default="0", help="Always keep this much cache.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="Output format."
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    everything: bool,
    force: bool,
    filters: tuple[str, ...],
    max_used_space: str,
    min_free_space: str,
    reserved_space: str,
    form: str,
) -> int:
    """Remove build cache, least recently used first. Local images keep what they need."""
    from llbkit.cli.state.du import conditions, show
    from llbkit.engine.embedded import Engine
    from llbkit.progress.model import amount
    from llbkit.request.csvflags import size
    from llbkit.worker.state.gc import PruneRequest

    request = PruneRequest(
        cache_mounts=everything,
        unused_for=_age(filters),
        max_used=size("--max-used-space", max_used_space),
        min_free=size("--min-free-space", min_free_space),
        reserved=size("--reserved-space", reserved_space),
        filters=tuple(conditions(text) for text in filters if not text.startswith("until=")),
    )
    if not force:
        what = "the build cache and all cache mounts" if everything else "the build cache"
        if not click.confirm(f"This removes {what}. Continue?", err=True):
            click.echo("nothing was removed", err=True)
            return 1
    with Engine(root=ctx.obj["root"]) as engine:
        gone = engine.worker.collector.prune(request)
    show(gone, form)
    if form == "table":
        click.echo(f"Total: {amount(sum(row.size for row in gone))}")
    return 0


def _age(filters: tuple[str, ...]) -> float:
    from llbkit.request.csvflags import FlagError

    age = 0.0
    for text in filters:
        key, _, value = text.partition("=")
        if key != "until":
            continue
        if not re.fullmatch(r"(\d+(\.\d+)?[smhd])+", value):
            raise FlagError(f"--filter until: invalid duration {value!r}", help="e.g. 90m, 36h, 7d or 1d12h")
        parts = re.findall(r"([\d.]+)([smhd])", value)
        age = max(age, sum(float(number) * _UNITS[unit] for number, unit in parts))
    return age
