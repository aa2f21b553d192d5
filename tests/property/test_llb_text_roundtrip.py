# SPDX-License-Identifier: Apache-2.0
"""Text says all of a graph: what is read is what was written, to the byte."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.drawn_ops import TEXT, graphs
from support.foreign_wire import foreign

from llbkit.grammar import DiagnosticError, Source
from llbkit.llb import text
from llbkit.llb.errors import DefinitionError
from llbkit.llb.ir.graph import Graph
from llbkit.llb.text.fields import unquote, word
from llbkit.llb.wire import decode, encode, jsonform

SLOW = [HealthCheck.too_slow]  # a machine that others use as well is no fault of ours


def _is_same(back: Graph, graph: Graph) -> None:
    assert [(v.digest, v.raw, v.op, v.platform, v.constraints) for v in back] == [
        (v.digest, v.raw, v.op, v.platform, v.constraints) for v in graph
    ]
    assert [[(e.vertex, e.index) for e in v.inputs] for v in back] == [
        [(e.vertex, e.index) for e in v.inputs] for v in graph
    ]
    assert (back.head is None) == (graph.head is None)
    if back.head is not None and graph.head is not None:
        assert (back.head.vertex, back.head.index) == (graph.head.vertex, graph.head.index)
    assert dict(back.metadata) == dict(graph.metadata)
    assert (back.terminal, back.unknown) == (graph.terminal, graph.unknown)
    assert dict(back.source_map.locations) == dict(graph.source_map.locations)
    assert [
        (i.source.name, i.source.data, i.source.language, i.definition, i.unknown)
        for i in back.source_map.infos
    ] == [
        (i.source.name, i.source.data, i.source.language, i.definition, i.unknown)
        for i in graph.source_map.infos
    ]


@settings(deadline=None, suppress_health_check=SLOW)
@given(graphs())
def test_a_graph_survives_being_written_and_read(graph: Graph) -> None:
    said = text.render(graph)
    back = text.read(said)
    _is_same(back, graph)
    assert encode(back) == encode(graph)
    assert text.render(back) == said


@settings(max_examples=50, deadline=None, suppress_health_check=SLOW)
@given(graphs(), st.data())
def test_definitions_of_other_writers_survive_too(graph: Graph, data: st.DataObject) -> None:
    written, _ = data.draw(foreign(graph))
    decoded = decode(written)
    said = text.render(decoded)
    _is_same(text.read(said), decoded)
    assert text.render(text.read(said)) == said


@settings(deadline=None, suppress_health_check=SLOW)
@given(TEXT)
def test_any_text_is_one_word(value: str) -> None:
    assert unquote(word(value)) == value


@settings(deadline=None, suppress_health_check=SLOW)
@given(graphs(), st.data())
def test_a_damaged_text_is_read_or_reported_with_a_place(graph: Graph, data: st.DataObject) -> None:
    said = text.render(graph)
    start = data.draw(st.integers(0, len(said)))
    end = min(len(said), start + data.draw(st.integers(0, 8)))
    other = data.draw(
        st.sampled_from(["", "%", "x", '"', " ", "\n", "\n  ", "->", "scratch", "=", "\ud800", "9" * 30])
    )
    damaged = Source("damaged.llb", said[:start] + other + said[end:])
    try:
        again = text.read(damaged)
    except DiagnosticError as error:
        found = error.diagnostics
    else:
        assert text.read(text.render(again)).vertices == again.vertices
        return
    assert found
    assert all(one.span is not None and one.span.source is damaged and one.render() for one in found)


@settings(deadline=None, suppress_health_check=SLOW)
@given(graphs())
def test_a_graph_survives_json(graph: Graph) -> None:
    back = jsonform.read(jsonform.render(graph))
    _is_same(back, graph)
    assert encode(back) == encode(graph)


@settings(max_examples=50, deadline=None, suppress_health_check=SLOW)
@given(graphs(), st.data())
def test_definitions_of_other_writers_survive_json(graph: Graph, data: st.DataObject) -> None:
    written, _ = data.draw(foreign(graph))
    decoded = decode(written)
    _is_same(jsonform.read(jsonform.render(decoded)), decoded)


@settings(deadline=None, suppress_health_check=SLOW)
@given(graphs(), st.data())
def test_damaged_json_is_read_or_a_definition_error(graph: Graph, data: st.DataObject) -> None:
    said = jsonform.render(graph)
    start = data.draw(st.integers(0, len(said)))
    end = min(len(said), start + data.draw(st.integers(0, 8)))
    other = data.draw(st.sampled_from(["", "x", '"', " ", "\n", "{", "[1]", "null", "9" * 30, "true"]))
    try:
        again = jsonform.read(said[:start] + other + said[end:])
    except DefinitionError:
        return
    assert jsonform.read(jsonform.render(again)).vertices == again.vertices
