# SPDX-License-Identifier: Apache-2.0
"""``llbkit compile``: the graph of a program, executing nothing."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from llb import Graph
from llbkit import context as contexts
from llbkit.cli.build import run_loop
from llbkit.cli.flags import frontend_options, key_values, source_flags
from llbkit.csvflags import FlagError
from llbkit.request import BuildRequest


def _pb(graph: Graph) -> bytes:
    from llb.wire import encode

    return encode(graph)


def _json(graph: Graph) -> bytes:
    from llb.wire.readable import metadata_json, op_json

    lines = [
        json.dumps({"Op": op_json(v.raw), "Digest": v.digest, "OpMetadata": metadata_json(graph, v.digest)})
        for v in graph
    ]
    return ("\n".join(lines) + "\n").encode()


def _text(graph: Graph) -> bytes:
    from llb.text import render

    return render(graph).encode("utf-8", "surrogateescape")


def _dot(graph: Graph) -> bytes:
    from llb.dot import render

    return render(graph).encode("utf-8", "surrogateescape")


_FORMATS: Mapping[str, Callable[[Graph], bytes]] = {"pb": _pb, "json": _json, "text": _text, "dot": _dot}


@click.command("compile", short_help="Compile to LLB.")
@click.argument("where", metavar="PATH | URL | -", default=".")
@source_flags
@click.option(
    "--format",
    "form",
    type=click.Choice(list(_FORMATS)),
    help="Format.  [default: text on a terminal, else pb]",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File.  [default: standard output]",
)
@click.pass_context
def command(ctx: click.Context, /, where: str, **values: Any) -> None:
    """Compile a program to LLB without executing anything.

    The definition (--format pb) runs on BuildKit too: buildctl build < FILE.
    """
    from llbkit.engine import Engine

    form = values["form"] or ("text" if sys.stdout.isatty() or values["output"] is None else "pb")
    with tempfile.TemporaryDirectory(prefix="llbkit-") as scratch:
        named = key_values("--build-context", values["contexts"])
        found = contexts.resolve(
            where, values["dockerfile"], named, stdin=sys.stdin.buffer, scratch=Path(scratch)
        )
        request = BuildRequest(
            frontend=values["frontend"],
            options={**found.options, **frontend_options(values)},
            locals=found.locals,
            oci_stores=found.oci_stores,
            inputs=found.inputs,
            downloads=found.downloads,
        )
        with Engine(root=ctx.obj["root"]) as engine:
            graphs = run_loop(engine.compile(request))
    if len(graphs) != 1:
        raise FlagError("compile writes one graph", help="give one --platform")
    (graph,) = graphs.values()
    data = _FORMATS[form](graph) if graph is not None else b""
    if values["output"] is not None:
        values["output"].write_bytes(data)
    else:
        sys.stdout.buffer.write(data)
