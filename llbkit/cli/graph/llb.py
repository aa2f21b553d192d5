# SPDX-License-Identifier: Apache-2.0
"""``llbkit llb``: inspect graphs. Inputs are files, or ``-``, in any form that `llbkit.engine.graphs` reads."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from llbkit.request.csvflags import FlagError

if TYPE_CHECKING:
    from llbkit.engine.graphs import GraphFile

F = TypeVar("F", bound=Callable[..., Any])


class _Group(click.Group):
    """Imports what executes graphs only if it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "run"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name != "run":
            return super().get_command(ctx, cmd_name)
        from llbkit.cli.graph.run import command

        return command


@click.group("llb", cls=_Group, short_help="Inspect and run graphs.")
def command() -> None:
    """Inspect and run graphs: print, compare, check, count, draw and execute them.

    A graph is a file, or - for standard input: a definition, JSON or the text form, as `llbkit compile` writes them.
    """


def _output(function: F) -> F:
    return click.option(
        "--output",
        "-o",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Output file.  [default: standard output]",
    )(function)


_graph = click.argument("where", metavar="[FILE | -]", default="-")


@command.command("dump", short_help="Print a graph in another form.")
@_graph
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "pb"]),
    default="text",
    help="Output format.  [default: text]",
)
@_output
def dump(where: str, form: str, output: Path | None) -> None:
    """Print a graph in another form; each can be read back."""
    from llbkit.engine.graphs import WRITERS

    _write(WRITERS[form](_load(where).graph), output)


@command.command("verify", short_help="Check a graph.")
@_graph
def verify(where: str) -> int:
    """Check a graph and print what is wrong with it; exit with 1 if anything is."""
    from llbkit.grammar import render_all

    read = _load(where)
    if found := read.problems():
        click.echo(render_all(found, most=len(found)), err=True)
        return 1
    click.echo(f"{read.name}: {len(read.graph)} vertices, no problems")
    return 0


@command.command("stats", short_help="Show statistics of a graph.")
@_graph
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def stats(where: str, as_json: bool) -> None:
    """Show statistics of a graph: ops, depth, width, sharing, sources, sizes."""
    from llbkit.llb.tools.stats import measure

    found = measure(_load(where).graph)
    click.echo(json.dumps(found.as_json(), indent=2) if as_json else found.text(), nl=as_json)


@command.command("draw", short_help="Draw a graph: SVG, Mermaid or DOT.")
@_graph
@click.option(
    "--format",
    "form",
    type=click.Choice(["svg", "mermaid", "dot"]),
    help="Output format.  [default: by --output, else svg]",
)
@click.option(
    "--events",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Color by the outcome of a build: a file written by --progress rawjson.",
)
@_output
def draw(where: str, form: str | None, events: Path | None, output: Path | None) -> None:
    """Draw a graph: SVG (needs no other program), Mermaid or DOT."""
    from llbkit.engine.graphs import draw as drawn
    from llbkit.progress.recorded import outcomes

    if form is None:
        ends = {".mmd": "mermaid", ".mermaid": "mermaid", ".dot": "dot", ".gv": "dot"}
        form = ends.get(output.suffix, "svg") if output is not None else "svg"
    told = None
    if events is not None:
        told = outcomes(events.read_text("utf-8", "replace").splitlines(), str(events))
    _write(drawn(_load(where).graph, form, told).encode("utf-8", "surrogateescape"), output)


@command.command("diff", short_help="Compare two graphs.")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff(before: str, after: str, as_json: bool) -> int:
    """Compare two graphs; exit with 1 if they differ, and with 2 if one cannot be read.

    Differences between builds alone (the session of local directories) are ignored.
    """
    from llbkit.cli.failure import USAGE, explain
    from llbkit.grammar import DiagnosticError
    from llbkit.llb import DefinitionError
    from llbkit.llb.tools.compare import compare

    if before == after == "-":
        raise FlagError("only one of the graphs can come from standard input")
    try:
        one, other = _load(before).graph, _load(after).graph
    except (DiagnosticError, DefinitionError, OSError) as error:
        click.echo(explain(error)[0], err=True)
        return USAGE
    found = compare(one, other)
    click.echo(json.dumps(found.as_json(), indent=2) if as_json else found.text(), nl=as_json)
    return 1 if found else 0


def _load(where: str) -> GraphFile:
    from llbkit.engine.graphs import load

    return load(where, stdin=sys.stdin.buffer)


def _write(data: bytes, output: Path | None) -> None:
    if output is not None:
        output.write_bytes(data)
    else:
        sys.stdout.buffer.write(data)
