# SPDX-License-Identifier: Apache-2.0
"""Text to graphs: see `llbkit.llb.text`. Errors of all statements are reported together, each with its span.

Statements are cut apart at lines that begin in the first column, so each is parsed on its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from itertools import pairwise
from types import MappingProxyType

from llbkit.grammar import Diagnostic, DiagnosticError, Source, Span
from llbkit.grammar.lift import Branch, Leaf, Lifter
from llbkit.grammar.loader import load
from llbkit.grammar.recover import Syntax
from llbkit.llb.ir.graph import NO_METADATA, Edge, Graph, Metadata, Vertex, merge_metadata
from llbkit.llb.ir.sourcemap import Location, SourceInfo, SourceMap
from llbkit.llb.ir.verify import problems
from llbkit.llb.text.fields import base64_bytes
from llbkit.llb.text.inputs import Names
from llbkit.llb.text.parts import Statement, content, locations, metadata_of, value_of
from llbkit.llb.text.vertices import vertex_of
from llbkit.records import dataclass

_BEGIN = re.compile(r"^(?=[^\s#])", re.MULTILINE)
_NAME = re.compile(r"%[\w-]+(?=\s*=)")
_TERMINALS = {
    "_NL": "end of line",
    "NAME": "a vertex (%name =)",
    "LABEL": "a text (@name =)",
    "PLACE": "%name, scratch or action N",
    "WORD": "a word or a string",
    "INT": "a number",
    "FLAG": "an option",
    "PAIR": "option=value",
    "GROUP": "option(...)",
    "KIND": "cache, secret, ssh or tmpfs",
    "YES_NO": "yes or no",
    "RANGE": "lines (3-5)",
    "IDENT": "",
    "LINE": "a line of content (| ...)",
    "LAST": "a last line of content (~ ...)",
}
_LIFTER = Lifter([], branches=True)


@dataclass(frozen=True, slots=True)
class Reading:
    """A graph, and where in the text each of its vertices stands."""

    graph: Graph
    source: Source
    places: Mapping[str, Span]

    def problems(self) -> list[Diagnostic]:
        """Return every broken rule of `llbkit.llb.ir.verify`, at its vertex."""
        return [
            Diagnostic(code="llb-rule", message=one.message, spans=(self.places[one.digest],))
            for one in problems(self.graph)
        ]


def read(source: Source | str) -> Graph:
    """Return the verified graph of a text.

    Raises:
        DiagnosticError: the text is not in the form, or its graph breaks a rule; with every mistake found.
    """
    reading = study(source)
    if found := reading.problems():
        raise DiagnosticError(found)
    return reading.graph


def study(source: Source | str) -> Reading:
    """Return the graph of a text as it stands, and the places of its vertices; rules are not checked.

    Raises:
        DiagnosticError: the text is not in the form; with every mistake found.
    """
    return _Reader(source if isinstance(source, Source) else Source("graph.llb", source, "llb")).reading()


@dataclass(slots=True)
class _Reader:
    source: Source
    names: Names = field(default_factory=Names)
    metadata: dict[str, Metadata] = field(default_factory=dict)
    places: dict[str, Span] = field(default_factory=dict)
    vertices: dict[str, Vertex] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    infos: list[SourceInfo] = field(default_factory=list)
    head: list[Edge | None] = field(default_factory=list)
    terminal: Metadata = NO_METADATA
    unknown: bytes = b""
    all_located: bool = False
    faults: list[Diagnostic] = field(default_factory=list)
    located: list[tuple[str, Statement, Sequence[object]]] = field(default_factory=list)

    def reading(self) -> Reading:
        syntax = Syntax(load("llbkit.grammar", "llbtext"), code="llb-syntax", names=_TERMINALS)
        for start, end in _statements(self.source.text):
            statement = Statement(self.source, start, end)
            try:
                self._take(statement, _parsed(statement, syntax))
            except DiagnosticError as error:
                self.faults += error.diagnostics
                if name := _NAME.match(self.source.text, start):
                    self.names.lost(name.group())
        places: dict[str, tuple[Location, ...]] = {}
        for digest, statement, parts in self.located:
            try:
                if (found := locations(statement, parts, self.labels)) is not None:
                    places[digest] = places.get(digest, ()) + found
            except DiagnosticError as error:
                self.faults += error.diagnostics
        if self.all_located:
            places = {**dict.fromkeys(self.vertices, ()), **places}
        if not self.head and not self.faults:
            end = len(self.source.text)
            self.faults.append(
                Diagnostic(
                    code="llb-head",
                    message="missing head",
                    spans=(self.source.span(end, end),),
                    help="end it with the wanted result: head %NAME, or head scratch",
                )
            )
        if self.faults:
            raise DiagnosticError(self.faults)
        graph = Graph(
            vertices=tuple(self.vertices.values()),
            head=self.head[0],
            metadata=MappingProxyType(self.metadata),
            source_map=SourceMap(infos=tuple(self.infos), locations=MappingProxyType(places)),
            terminal=self.terminal,
            unknown=self.unknown,
        )
        return Reading(graph, self.source, self.places)

    def _take(self, statement: Statement, tree: Branch) -> None:
        match tree:
            case Branch("vertex", (Leaf() as name, Branch() as body)):
                self._vertex(statement, name, body)
            case Branch("text", (Leaf() as label, Leaf() as name, *parts)):
                self._text(statement, label, name, parts)
            case Branch("head", (Leaf() as place, *parts)):
                if self.head:
                    raise statement.fault(place, "llb-head", "duplicate head")
                self.terminal = metadata_of(statement, parts) or NO_METADATA
                self.head.append(self.names.edge(statement, place))
            case Branch("elsewhere", (Leaf() as digest, *parts)):
                self._locate(statement.word(digest), statement, parts)
            case Branch("located"):
                self.all_located = True
            case Branch("beyond", (Leaf() as data,)):
                self.unknown += statement.value(data, base64_bytes)
            case _:
                raise statement.unknown_word(tree, "statement", ("head", "located", "elsewhere", "unknown"))

    def _vertex(self, statement: Statement, name: Leaf, body: Branch) -> None:
        vertex = vertex_of(statement, name, body, self.names)
        known = self.vertices.setdefault(vertex.digest, vertex)
        self.names.add(statement, name, known)
        self.places.setdefault(vertex.digest, statement.first_line())
        if (found := metadata_of(statement, body.parts)) is not None:
            before = self.metadata.get(vertex.digest)
            self.metadata[vertex.digest] = found if before is None else merge_metadata(before, found)
        self._locate(vertex.digest, statement, body.parts)

    def _locate(self, digest: str, statement: Statement, parts: Sequence[object]) -> None:
        """Keep the lines of locations until all texts are known, and nothing else of the tree."""
        if found := [part for part in parts if isinstance(part, Branch) and part.rule == "at"]:
            self.located.append((digest, statement, found))

    def _text(self, statement: Statement, label: Leaf, name: Leaf, parts: Sequence[object]) -> None:
        if label.text in self.labels:
            raise statement.fault(label, "llb-name", f"duplicate text {label.text}")
        self.labels[label.text] = len(self.infos)
        language, definition, unknown = "", None, b""
        for part in parts:
            match part:
                case Leaf("PAIR", text) if text.startswith("language="):
                    language = statement.word(value_of(part))
                case Leaf("PAIR" | "FLAG") as key:
                    raise statement.fault(key, "llb-option", "a text takes no option other than language=")
                case Branch("group", (Leaf() as key, *_)):
                    raise statement.fault(key, "llb-option", "a text takes no option other than language=")
                case Branch("definition", lines):
                    definition = content(statement, lines)
                case Branch("later", (Leaf() as data,)):
                    unknown = statement.value(data, base64_bytes)
                case Branch("stray"):
                    raise statement.unknown_word(part, "line of a text", ("definition", "unknown", "base64"))
        held = content(statement, parts)
        self.infos.append(
            SourceInfo(
                source=Source.from_bytes(statement.word(name), held, language),
                definition=definition,
                unknown=unknown,
            )
        )


def _statements(text: str) -> Iterator[tuple[int, int]]:
    """Yield where statements begin and end; text before the first one counts as one, unless it is empty or a comment."""
    starts = [match.start() for match in _BEGIN.finditer(text)]
    first = starts[0] if starts else len(text)
    if any(line.strip() and not line.lstrip().startswith("#") for line in text[:first].split("\n")):
        starts.insert(0, 0)
    yield from pairwise([*starts, len(text)])


def _parsed(statement: Statement, syntax: Syntax) -> Branch:
    text = statement.text
    one = Source(statement.source.name, text if text.endswith("\n") else text + "\n")
    try:
        (tree,) = _LIFTER.lift(syntax.parse(one)).parts
    except DiagnosticError as error:
        raise DiagnosticError([statement.moved(diagnostic) for diagnostic in error.diagnostics]) from None
    assert isinstance(tree, Branch)
    return tree
