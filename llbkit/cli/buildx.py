# SPDX-License-Identifier: Apache-2.0
"""What ``docker buildx build`` accepts beyond our own flags, for compatibility with existing scripts.

Flags that change nothing in a build without a daemon say so in a warning; attestations must be off, because leaving
them out in silence would change what is published. ``--flag=true`` and ``--flag=false`` are read as Docker reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from llbkit.request.csvflags import FlagError, boolean, fields

F = TypeVar("F", bound=Callable[..., Any])

_SWITCHES = ("--compress", "--force-rm", "--squash")
_VALUES = (
    "--cache-from", "--cache-to", "--cpu-period", "--cpu-quota", "--cpuset-cpus", "--cpuset-mems", "--isolation",
    "--memory-swap", "--security-opt",
)  # fmt: skip
_INSTEAD = {
    "--memory": "--resource memory=SIZE limits a step",
    "--cpu-shares": "--resource cpu-shares=NUMBER limits a step",
    "--cache-from": "steps are cached in the state directory only",
    "--builder": "the only builder is this process",
    "--cache-to": "steps are cached in the state directory only",
}


class DockerCommand(click.Command):
    """A command whose switches may be given with a value: ``--push=false``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words of a command line, switches with a value first."""
        options = [param for param in self.params if isinstance(param, click.Option)]
        switches = {name for option in options if option.is_flag for name in option.opts}
        takers = {name for option in options if not option.is_flag for name in option.opts}
        read: list[str] = []
        before = ""
        for number, word in enumerate(args):
            name, equals, value = word.partition("=")
            if word == "--":
                read += args[number:]
                break
            if before in takers or not equals or name not in switches:
                read.append(word)
            elif boolean(name, "value", value):
                read.append(name)
            before = "" if before in takers else word
        return super().parse_args(ctx, read)


def docker_flags(function: F) -> F:
    """Add the flags that exist for Docker's sake. They are not in the help and give the command no value."""
    for name in _SWITCHES:
        function = _hidden(name, callback=_without_effect, is_flag=True)(function)
    for name in _VALUES:
        function = _hidden(name, callback=_without_effect, multiple=True)(function)
    function = _hidden("--memory", "-m", callback=_without_effect, multiple=True)(function)
    function = _hidden("--cpu-shares", "-c", callback=_without_effect, multiple=True)(function)
    for name in ("--provenance", "--sbom", "--attest"):
        function = _hidden(name, callback=_off, multiple=True)(function)
    function = _hidden("--rm", is_flag=True)(function)  # what we do anyway
    function = _hidden("--builder", metavar="NAME", callback=_without_effect)(function)
    return _hidden("--debug", "-D", is_flag=True)(function)  # `llbkit.cli.main.run` looks for it


def _hidden(*names: str, **settings: Any) -> Callable[[F], F]:
    return click.option(*names, hidden=True, expose_value=False, **settings)


def _without_effect(ctx: click.Context, param: click.Parameter, value: object) -> None:
    if value and not ctx.resilient_parsing:
        name = param.opts[0]
        instead = f"; {_INSTEAD[name]}" if name in _INSTEAD else ""
        click.echo(f"warning: {name} has no effect{instead}", err=True)


def _off(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> None:
    """Accept attestations that are off.

    Raises:
        FlagError: one is on.
    """
    name = param.opts[0]
    for value in values:
        if not _says_off(name, value):
            off = "disabled=true" if name == "--attest" else "false"
            raise FlagError(
                f"{name}: attestations are not supported yet", help=f"remove it or use {name}={off}"
            )


def _says_off(name: str, value: str) -> bool:
    parts = fields(name, value)
    read = dict(part.partition("=")[::2] for part in parts)
    if "disabled" in read:
        return boolean(name, "disabled", read["disabled"])
    return (
        len(parts) == 1
        and "=" not in value
        and value not in ("min", "max")
        and not boolean(name, "value", value)
    )
