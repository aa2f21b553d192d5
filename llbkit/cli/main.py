# SPDX-License-Identifier: Apache-2.0
"""The command group: subcommands are imported on first use."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llbkit import __version__
from llbkit.cli.failure import ENVIRONMENT, USAGE, explain
from llbkit.cli.process import Signalled, adopt_children, adopt_streams, flush_output, safe_streams, signals

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_COMMANDS = {
    "build": ("llbkit.cli.build", "Build an image from a Dockerfile or another language."),
    "compile": ("llbkit.cli.graph.compile", "Compile to LLB without executing anything."),
    "config": ("llbkit.cli.state.config", "Show and explain the configuration."),
    "completion": ("llbkit.cli.state.completion", "Print a shell completion script."),
    "doctor": ("llbkit.cli.state.doctor", "Check the host and show how to fix what is missing."),
    "du": ("llbkit.cli.state.du", "Show disk usage and what can be reclaimed."),
    "images": ("llbkit.cli.image.list", "List local images."),
    "inspect": ("llbkit.cli.image.inspect", "Show details of local images."),
    "llb": ("llbkit.cli.graph.llb", "Inspect and run graphs."),
    "load": ("llbkit.cli.image.load", "Load images from an archive."),
    "prune": ("llbkit.cli.state.prune", "Remove build cache."),
    "pull": ("llbkit.cli.image.pull", "Pull an image from a registry."),
    "push": ("llbkit.cli.image.push", "Push a local image to its registry."),
    "rmi": ("llbkit.cli.image.rmi", "Remove local images."),
    "run": ("llbkit.cli.run", "Run a command in an image."),
    "save": ("llbkit.cli.image.save", "Save local images to an archive."),
    "tag": ("llbkit.cli.image.tag", "Create another name for a local image."),
    "version": ("llbkit.cli.state.version", "Print the version."),
}
"""Each command's module and summary."""

_LONG_FORMS: dict[tuple[str, ...], str] = {
    ("builder", "build"): "build",
    ("builder", "prune"): "prune",
    ("buildx", "build"): "build",
    ("buildx", "du"): "du",
    ("buildx", "prune"): "prune",
    ("buildx", "version"): "version",
    ("container", "run"): "run",
    ("image", "build"): "build",
    ("image", "inspect"): "inspect",
    ("image", "load"): "load",
    ("image", "ls"): "images",
    ("image", "pull"): "pull",
    ("image", "push"): "push",
    ("image", "rm"): "rmi",
    ("image", "save"): "save",
    ("image", "tag"): "tag",
    ("system", "df"): "du",
}
"""Docker's longer spelling of the same commands."""


PLUGINS = "llbkit.commands"


def _plugins() -> dict[str, EntryPoint]:
    """Return the commands of other packages. Reading their metadata takes a moment, so it is done when needed only."""
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=PLUGINS)}


class _LazyGroup(click.Group):
    """Imports a command when it is named. Further commands are entry points of the group `PLUGINS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*_COMMANDS, *_plugins()])

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in _COMMANDS:
            command = import_module(_COMMANDS[name][0]).command
        else:
            plugin = _plugins().get(name)
            if plugin is None:
                return None
            command = plugin.load()
        assert isinstance(command, click.Command), f"{name} is not a command"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            others = [
                (p.name, f"Provided by {p.dist.name if p.dist else p.value}.") for p in _plugins().values()
            ]
            ours = [(name, text) for name, (_, text) in _COMMANDS.items()]
            formatter.write_dl(sorted([*ours, *others]))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if (short := _LONG_FORMS.get(tuple(args[:2]))) is not None:
            args = [short, *args[2:]]
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from llbkit.grammar import nearest

            known = nearest(args[0], self.list_commands(ctx))
            hint = f"; did you mean {known!r}?" if known else ""
            raise click.UsageError(f"unknown command {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    help="State directory.  [default: /var/lib/llbkit, or $LLBKIT_ROOT]",
)
@click.option("--debug", "-D", is_flag=True, help="Show tracebacks of errors.")
@click.version_option(__version__, prog_name="llbkit", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, root: Path | None, debug: bool) -> None:
    """Build container images without a daemon and without Docker."""
    ctx.obj = {"root": root, "debug": debug}


def run(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code.

    0, 1 failed, 2 used wrongly, 3 environment; 130, 143 and 129 after SIGINT, SIGTERM and SIGHUP.
    """
    adopt_streams()
    adopt_children()
    try:
        with signals.handled():
            with safe_streams():
                code = _run(argv)
            try:
                flush_output()
            except OSError as error:
                code = code or _fail(error, debug=False)
    except Signalled:  # between two of these lines
        return signals.exit_code
    return signals.exit_code if signals.received else code


def _run(argv: Sequence[str]) -> int:
    debug = "--debug" in argv or "-D" in argv
    try:
        outcome = cli.main(args=list(argv), prog_name="llbkit", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.UsageError as error:
        error.show(sys.stderr)
        return USAGE
    except click.ClickException as error:
        error.show(sys.stderr)
        return error.exit_code
    except (Exception, KeyboardInterrupt, click.Abort) as error:
        return _fail(Signalled() if signals.received else error, debug=debug)
    return outcome if isinstance(outcome, int) else 0


def _fail(error: BaseException, *, debug: bool) -> int:
    """Say what went wrong, and return the exit code."""
    if debug and not isinstance(error, KeyboardInterrupt | click.Abort):
        import traceback

        traceback.print_exc()
    try:
        message, code = explain(error)
    except (ImportError, MemoryError, OSError) as lack:  # there is no room even to look the failure up
        message, code = f"error: {lack or 'not enough memory'}", ENVIRONMENT
    with suppress(OSError):  # no one is left to report to
        sys.stderr.write(message + "\n")
        sys.stderr.flush()
    return code
