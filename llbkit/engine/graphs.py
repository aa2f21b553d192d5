# SPDX-License-Identifier: Apache-2.0
"""Graphs in files: three formats, detected by content, and pictures, which are only written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from llbkit.grammar import Diagnostic, Source, Span
from llbkit.records import dataclass
from llbkit.request.csvflags import FlagError

if TYPE_CHECKING:
    from llbkit.llb import Graph
    from llbkit.llb.draw.picture import Outcome

_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_TEXT = re.compile(
    rb"(?:[ \t]*(?:#[^\n]*)?\r?\n)*(?:%[\w-]+\s*=|@[\w.-]+\s*=|(?:head|located|elsewhere|unknown)\s)"
)
_LOOKED_AT = 1 << 16


@dataclass(frozen=True, slots=True)
class GraphFile:
    """A graph that was read: its file's name, the form it had, and where in a text its vertices stand."""

    name: str
    form: str
    graph: Graph
    places: Mapping[str, Span] = field(default_factory=dict)

    def problems(self) -> list[Diagnostic]:
        """Return every rule of `llbkit.llb.ir.verify` that the graph breaks, at its vertex where that has a place."""
        from llbkit.llb.ir.verify import problems

        found = []
        for one in problems(self.graph):
            spans = (self.places[one.digest],) if one.digest in self.places else ()
            message = one.message if spans else f"op {one.digest}: {one.message}"
            found.append(Diagnostic(code="llb-rule", message=message, spans=spans))
        return found

    def located(self) -> Graph:
        """Return the graph, its vertices pointing into the text they were read from if they point nowhere else."""
        if not self.places:
            return self.graph
        from llbkit.llb.ir.sourcemap import Location, SourceInfo, SourceMap

        known = self.graph.source_map
        text = next(iter(self.places.values())).source
        own = {
            digest: (Location(len(known.infos), ((span.start_line, span.end_line),)),)
            for digest, span in self.places.items()
            if not known.locations.get(digest)
        }
        if not own:
            return self.graph
        infos = (*known.infos, SourceInfo(source=text))
        return replace(self.graph, source_map=SourceMap(infos=infos, locations={**known.locations, **own}))


def load(where: str, *, stdin: BinaryIO) -> GraphFile:
    """Return the graph of a file, or of ``stdin`` for ``-``. Rules are not checked: see `GraphFile.problems`.

    Raises:
        FlagError: the file does not exist, or what it holds is not a graph.
        grammar.DiagnosticError: it is a text with mistakes.
        llb.DefinitionError: it is a definition or JSON with mistakes.
    """
    if where == "-":
        return parse("standard input", stdin.read())
    path = Path(where)
    if path.is_dir():
        raise FlagError(
            f"{where} is a directory", help="`llbkit compile DIRECTORY` turns a Dockerfile into a graph"
        )
    if not path.exists():
        raise FlagError(f"{where} does not exist", help="use a definition file, or - for standard input")
    return parse(where, path.read_bytes())


def parse(name: str, data: bytes) -> GraphFile:
    """Return the graph that bytes hold; ``name`` is for messages. Raises as `load` does."""
    from llbkit.llb import DefinitionError

    form = form_of(data)
    try:
        if form == "pb":
            from llbkit.llb.wire import decode

            return GraphFile(name, form, decode(data, verified=False))
        if form == "json":
            from llbkit.llb.wire import jsonform

            return GraphFile(name, form, jsonform.read(data.decode("utf-8", "replace"), verified=False))
    except DefinitionError as error:
        raise DefinitionError(f"{name}: {error}") from error
    if form == "text":
        from llbkit.llb.text import study

        reading = study(Source.from_bytes(name, data, "llb"))
        return GraphFile(name, form, reading.graph, reading.places)
    if not data.strip():
        raise FlagError(f"{name} is empty", help="expected a graph: a definition, JSON or the text form")
    raise FlagError(
        f"{name} is not a graph: expected a definition, JSON or the text form",
        help="`llbkit compile` turns a Dockerfile into a graph",
    )


def form_of(data: bytes) -> str:
    """Return the form of a graph's bytes: ``pb``, ``json``, ``text``, or "" for none of them.

    The text form is known by its first line that is not a comment. A definition has control characters in its first bytes,
    which JSON never has.
    """
    head = data[:_LOOKED_AT]
    if _TEXT.match(head):
        return "text"
    if _CONTROL.search(head):
        return "pb"
    return "json" if head.lstrip().startswith(b"{") else ""


def without_cache(graph: Graph) -> Graph:
    """Return a graph whose vertices are executed although the cache has them."""
    return replace(
        graph,
        metadata={
            vertex.digest: replace(graph.metadata_of(vertex.digest), ignore_cache=True) for vertex in graph
        },
    )


def local_names(graph: Graph) -> list[str]:
    """Return the names of the local directories that a graph reads."""
    from llbkit.llb.ir import ops

    found = {
        vertex.op.identifier.removeprefix("local://")
        for vertex in graph
        if isinstance(vertex.op, ops.Source) and vertex.op.identifier.startswith("local://")
    }
    return sorted(found)


def _pb(graph: Graph) -> bytes:
    from llbkit.llb.wire import encode

    return encode(graph)


def _json(graph: Graph) -> bytes:
    from llbkit.llb.wire import jsonform

    return jsonform.render(graph).encode()


def _text(graph: Graph) -> bytes:
    from llbkit.llb.text import render

    return render(graph).encode("utf-8", "surrogateescape")


def _picture(form: str) -> Callable[[Graph], bytes]:
    def write(graph: Graph) -> bytes:
        return draw(graph, form).encode("utf-8", "surrogateescape")

    return write


def draw(graph: Graph, form: str, outcomes: Iterable[Outcome] | None = None) -> str:
    """Return a picture of a graph: ``dot``, ``mermaid`` or ``svg``; ``outcomes`` colour it."""
    from importlib import import_module

    drawn: str = import_module(f"llbkit.llb.draw.{form}").render(graph, outcomes)
    return drawn


WRITERS: Mapping[str, Callable[[Graph], bytes]] = {"text": _text, "json": _json, "pb": _pb}
"""The forms that can be read back."""
PICTURES: Mapping[str, Callable[[Graph], bytes]] = {
    form: _picture(form) for form in ("svg", "mermaid", "dot")
}
"""The forms for looking at."""
