# SPDX-License-Identifier: Apache-2.0
"""Resolve the vertices and inputs that statements of the text form refer to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from llbkit.grammar import DiagnosticError, Related, Span, nearest
from llbkit.grammar.lift import Leaf
from llbkit.llb.ir.graph import Edge, Vertex
from llbkit.llb.text.parts import Statement
from llbkit.records import dataclass


@dataclass(slots=True)
class Names:
    """The vertices that statements have named so far."""

    _known: dict[str, Vertex] = field(default_factory=dict)
    _first: dict[str, Span] = field(default_factory=dict)
    _lost: set[str] = field(default_factory=set)

    def add(self, statement: Statement, name: Leaf, vertex: Vertex) -> None:
        """Register the name of a vertex.

        Raises:
            DiagnosticError: another one has it.
        """
        if name.text in self._known:
            first = (Related("first defined here", self._first[name.text]),)
            raise statement.fault(name, "llb-name", f"duplicate name {name.text}", related=first)
        self._known[name.text] = vertex
        self._first[name.text] = statement.span(name)

    def lost(self, name: str) -> None:
        """Remember a vertex that could not be read, so that those who use it are not reported as well."""
        self._lost.add(name)

    def edge(self, statement: Statement, place: Leaf) -> Edge | None:
        """Return the edge that ``%name`` or ``%name.index`` means; None for scratch.

        Raises:
            DiagnosticError: the vertex does not exist before this place. It is empty if the vertex was lost.
        """
        if place.text == "scratch":
            return None
        name, _, index = place.text.partition(".")
        if name in self._known:
            return Edge(self._known[name], int(index or 0))
        if name in self._lost:
            raise DiagnosticError(())
        if not name.startswith("%"):
            raise statement.fault(place, "llb-name", f"unexpected {place.text}")
        close = nearest(name, self._known)
        hint = f"did you mean {close}?" if close else "define a vertex before the vertices that use it"
        raise statement.fault(place, "llb-name", f"undefined vertex {name}", hint)


@dataclass(slots=True)
class Inputs:
    """The inputs of one vertex: as listed, or in the order in which its lines name them."""

    statement: Statement
    names: Names
    edges: list[Edge] = field(default_factory=list)
    listed: bool = False
    actions: int = -1
    _numbers: dict[tuple[str, int], int] = field(default_factory=dict)

    def list(self, places: Sequence[Leaf]) -> None:
        """Take the inputs from a line that lists them all."""
        self.listed = True
        for place in places:
            edge = self.names.edge(self.statement, place)
            if edge is None:
                raise self.statement.fault(place, "llb-name", "scratch cannot be listed as an input")
            self._numbers.setdefault((edge.vertex.digest, edge.index), len(self.edges))
            self.edges.append(edge)

    def of(self, place: Leaf) -> int:
        """Return the number of the input that a place means; -1 for scratch."""
        kind, _, number = place.text.partition(" ")
        if kind == "input":
            if not self.listed or int(number) >= len(self.edges):
                raise self.statement.fault(place, "llb-name", f"{place.text} does not exist")
            return int(number)
        edge = self.names.edge(self.statement, place)
        if edge is None:
            return -1
        key = (edge.vertex.digest, edge.index)
        if key not in self._numbers:
            if self.listed:
                raise self.statement.fault(place, "llb-name", f"{place.text} is not one of the inputs")
            self._numbers[key] = len(self.edges)
            self.edges.append(edge)
        return self._numbers[key]
