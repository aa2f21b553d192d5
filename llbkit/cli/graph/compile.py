# SPDX-License-Identifier: Apache-2.0
"""``llbkit compile``: the graph of a program, executing nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llbkit.cli.execute import run_loop, scratch_directory
from llbkit.cli.flags import frontend_options, key_values, source_flags
from llbkit.engine.graphs import PICTURES, WRITERS
from llbkit.request import context as contexts
from llbkit.request.csvflags import FlagError
from llbkit.request.values import BuildRequest

if TYPE_CHECKING:
    from llbkit.solver.passes import Optimized

_FORMATS = {"pb": WRITERS["pb"], "json": WRITERS["json"], "text": WRITERS["text"], **PICTURES}


def explain(done: Optimized | None) -> str:
    """Return in words what each pass did, to which step, and why that makes no difference."""
    if done is None:
        return "the result is empty"
    if not done.applied:
        return "passes are off"
    lines = [f"{_vertices(done.applied[0].before)}, after all passes {done.applied[-1].after}"]
    for one in done.applied:
        counts = f"{one.before} -> {one.after}" if one.before != one.after else f"{one.after}"
        lines.append(f"{one.name}: {counts}" if one.notes else f"{one.name}: nothing to do")
        lines += [f"  {note.step}\n    {note.why}" for note in one.notes]
    return "\n".join(lines)


def _vertices(count: int) -> str:
    return "1 vertex" if count == 1 else f"{count} vertices"


@click.command("compile", short_help="Compile to LLB.")
@click.argument("where", metavar="PATH | URL | -", default=".")
@source_flags
@click.option(
    "--format",
    "form",
    type=click.Choice(list(_FORMATS)),
    help="Output format.  [default: text on a terminal, else pb]",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Output file.  [default: standard output]",
)
@click.option(
    "--explain-passes",
    is_flag=True,
    help="Explain what each pass does instead of writing the graph.  [with --output: both]",
)
@click.pass_context
def command(ctx: click.Context, /, where: str, **values: Any) -> None:
    """Compile a program to LLB without executing anything.

    The definition (--format pb) runs with `llbkit llb run`, and on BuildKit: buildctl build < FILE.
    """
    from llbkit.engine.embedded import Engine

    form = values["form"] or ("text" if sys.stdout.isatty() and values["output"] is None else "pb")
    with scratch_directory(ctx.obj["root"]) as scratch:
        named = key_values("--build-context", values["contexts"])
        found = contexts.resolve(where, values["dockerfile"], named, stdin=sys.stdin.buffer, scratch=scratch)
        request = BuildRequest(
            frontend=values["frontend"],
            options={**found.options, **frontend_options(values)},
            locals=found.locals,
            oci_stores=found.oci_stores,
            inputs=found.inputs,
            downloads=found.downloads,
        )
        with Engine(root=ctx.obj["root"]) as engine:
            compiled = run_loop(engine.compile_explained(request))
    if len(compiled) != 1:
        raise FlagError("compile writes a single graph", help="use a single --platform")
    (done,) = compiled.values()
    if values["explain_passes"]:
        click.echo(explain(done))
        if values["output"] is None:
            return
    data = _FORMATS[form](done.graph) if done is not None else b""
    if values["output"] is not None:
        values["output"].write_bytes(data)
    else:
        sys.stdout.buffer.write(data)
