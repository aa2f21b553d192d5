# SPDX-License-Identifier: Apache-2.0
"""``llbkit version``."""

from __future__ import annotations

import click

from llbkit import __version__


@click.command("version")
def command() -> None:
    """Print the version."""
    click.echo(f"llbkit {__version__}")
