# SPDX-License-Identifier: Apache-2.0
"""``llbkit completion``: click's own completion scripts."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of a shell.

    Put `eval "$(llbkit completion bash)"` into ~/.bashrc.
    """
    from llbkit.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None, "the choices above are click's own"
    click.echo(kind(cli, {}, "llbkit", "_LLBKIT_COMPLETE").source())
