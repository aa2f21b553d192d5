# SPDX-License-Identifier: Apache-2.0
"""``llbkit config``: the settings in effect, and the available ones."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click


@click.group("config", short_help="Show and explain the configuration.")
def command() -> None:
    """Show and explain the configuration.

    Settings come from flags, LLBKIT_* variables, the file ($LLBKIT_CONFIG or ~/.config/llbkit/config.toml) and defaults,
    in this order.
    """


@command.command("show")
@click.option("--format", "form", type=click.Choice(["toml", "json"]), default="toml", help="Output format.")
@click.pass_context
def show(ctx: click.Context, form: str) -> None:
    """Print the effective settings in the format of the configuration file."""
    from llbkit import config

    settings = config.load(root=ctx.obj["root"])
    origin = config.origins(root=ctx.obj["root"])
    values: dict[str, Any] = {
        "root": str(settings.root),
        "runtime": settings.runtime,
        "snapshotter": settings.snapshotter,
        "passes": settings.passes,
        "parallel": dict(settings.parallel),
        "registry": {host: asdict(one) for host, one in settings.registries.items()},
    }
    if form == "json":
        click.echo(json.dumps(values, indent=2))
        return
    click.echo(f"# {config.path_in_use() or f'no configuration file at {config.default_path()}'}")
    for key in ("root", "runtime", "snapshotter", "passes"):
        click.echo(f"{key} = {json.dumps(values[key])}  # from {origin[key]}")
    click.echo(f"\n[parallel]  # from {origin['parallel']}")
    for key, size in values["parallel"].items():
        click.echo(f"{key} = {size}")
    for host, fields in values["registry"].items():
        click.echo(f"\n[registry.{json.dumps(host)}]")
        for key, value in fields.items():
            if value:
                click.echo(f"{key} = {json.dumps(value)}")


@command.command("explain")
@click.argument("key", required=False)
def explain(key: str | None) -> None:
    """Explain every setting, or one: `llbkit config explain registry`."""
    from llbkit.config import MEANINGS
    from llbkit.grammar import nearest
    from llbkit.request.csvflags import FlagError

    if key is not None and key not in MEANINGS:
        near = nearest(key, MEANINGS)
        raise FlagError(
            f"unknown setting {key!r}",
            help=f"did you mean {near!r}?" if near else "settings: " + ", ".join(MEANINGS),
        )
    for name in [key] if key is not None else MEANINGS:
        click.echo(f"{name}\n    {MEANINGS[name]}")
