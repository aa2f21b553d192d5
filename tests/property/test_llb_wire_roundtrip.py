# SPDX-License-Identifier: Apache-2.0
"""Any op survives the wire, and no bytes make the decoder raise anything but its own error."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import get_args

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from support.drawn_ops import INT64, METADATA, READERS, SOURCES, TEXT, graphs
from support.foreign_wire import foreign

from llbkit.llb.errors import DefinitionError
from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Edge, Graph, Metadata, Vertex, merge_metadata
from llbkit.llb.wire import decode, decode_op, encode, encode_op
from llbkit.llb.wire import messages as pb


def test_every_op_is_drawn() -> None:
    drawn = {ops.Exec, ops.Source, ops.File, ops.Merge, ops.Diff, ops.Build, ops.Passthrough}
    assert drawn == set(get_args(ops.Op))


@given(graphs())
def test_a_graph_survives_the_wire(graph: Graph) -> None:
    data = encode(graph)
    back = decode(data)
    assert encode(back) == data
    assert [(v.digest, v.raw, v.op, v.platform, v.constraints) for v in back] == [
        (v.digest, v.raw, v.op, v.platform, v.constraints) for v in graph
    ]
    assert [[(e.vertex, e.index) for e in v.inputs] for v in back] == [
        [(e.vertex, e.index) for e in v.inputs] for v in graph
    ]
    assert back.head is not None
    assert graph.head is not None
    assert (back.head.vertex, back.head.index) == (graph.head.vertex, graph.head.index)
    assert dict(back.metadata) == dict(graph.metadata)
    assert back.terminal == graph.terminal
    assert dict(back.source_map.locations) == dict(graph.source_map.locations)
    (before,), (after,) = graph.source_map.infos, back.source_map.infos
    assert (after.source.name, after.source.data, after.source.language, after.definition) == (
        before.source.name,
        before.source.data,
        before.source.language,
        before.definition,
    )


@given(st.one_of(SOURCES, READERS), st.lists(st.tuples(TEXT, INT64), max_size=2))
def test_one_op_survives_the_wire(op: ops.Op, inputs: list[tuple[str, int]]) -> None:
    assert decode_op(encode_op(op, inputs)) == (op, tuple(inputs))


def _decodes_or_is_refused(data: bytes) -> None:
    try:
        graph = decode(data)
    except DefinitionError:
        return
    again = decode(encode(graph))
    assert [vertex.digest for vertex in again] == [vertex.digest for vertex in graph]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_definition_or_a_definition_error(data: bytes) -> None:
    _decodes_or_is_refused(data)


@settings(max_examples=300)
@given(graphs(), st.data())
def test_a_damaged_definition_decodes_or_is_a_definition_error(graph: Graph, data: st.DataObject) -> None:
    raw = bytearray(encode(graph))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(raw) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "grow"])):
            case "flip":
                raw[place] = data.draw(st.integers(0, 255))
            case "cut":
                del raw[place + 1 :]
            case _:
                raw[place:place] = data.draw(st.binary(min_size=1, max_size=4))
    _decodes_or_is_refused(bytes(raw))


@settings(max_examples=300)
@given(graphs(), st.data())
def test_a_damaged_op_decodes_or_is_a_definition_error(graph: Graph, data: st.DataObject) -> None:
    """Damage inside an op, with the digests of its users made right again, gets past the outer checks."""
    top = graph.vertices[-1]
    raw = bytearray(top.raw)
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    digest = "sha256:" + hashlib.sha256(raw).hexdigest()
    damaged = Vertex(op=top.op, inputs=top.inputs, digest=digest, raw=bytes(raw))
    vertices = (*graph.vertices[:-1], damaged)
    _decodes_or_is_refused(encode(Graph(vertices=vertices, head=Edge(damaged))))


@settings(max_examples=300)
@given(graphs(), st.data())
def test_definitions_of_other_writers_decode_and_encode_to_their_bytes(
    graph: Graph, data: st.DataObject
) -> None:
    written, new = data.draw(foreign(graph))
    back = decode(written)
    assert encode(back) == written
    assert {v.digest for v in back} == {"sha256:" + hashlib.sha256(v.raw).hexdigest() for v in back}
    found = {v.digest: v for v in back}
    assert {d: found[new[d]].op for d in new} == {v.digest: v.op for v in graph}
    # Changed a little, it still says the same, fields of later versions among it.
    changed = replace(back, terminal=replace(back.terminal, ignore_cache=not back.terminal.ignore_cache))
    again = decode(encode(changed))
    assert dict(again.metadata) == dict(back.metadata)
    assert again.unknown == back.unknown
    assert [i.unknown for i in again.source_map.infos] == [i.unknown for i in back.source_map.infos]
    for digest, metadata in graph.metadata.items():
        kept = back.metadata[new[digest]]
        assert replace(kept, unknown=b"") == replace(metadata, unknown=b"")
        assert metadata.unknown in kept.unknown


@settings(max_examples=300)
@given(graphs(), st.data())
def test_bytes_that_are_no_op_are_refused_with_the_op_and_a_place(graph: Graph, data: st.DataObject) -> None:
    """Whatever makes protobuf refuse a message is found again by the search for the place."""
    raw = bytearray(graph.vertices[-1].raw)
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        pb.Op.FromString(bytes(raw))
    except DecodeError:
        with pytest.raises(DefinitionError, match=r"^op 0 of the definition is not a pb\.Op: (?!malformed)"):
            decode(pb.Definition(**{"def": [bytes(raw)]}).SerializeToString())


@given(METADATA, METADATA, METADATA)
def test_merging_metadata_is_associative_and_keeps_demands(a: Metadata, b: Metadata, c: Metadata) -> None:
    assert merge_metadata(merge_metadata(a, b), c) == merge_metadata(a, merge_metadata(b, c))
    both = merge_metadata(a, b)
    assert set(both.caps) == {*a.caps, *b.caps}
    assert both.ignore_cache == (a.ignore_cache or b.ignore_cache)
    assert both.description == {**a.description, **b.description}
    assert both.export_cache == (b.export_cache if b.export_cache is not None else a.export_cache)


@given(METADATA)
def test_merging_with_nothing_or_itself_changes_nothing(metadata: Metadata) -> None:
    assert merge_metadata(metadata, Metadata()) == metadata
    assert merge_metadata(Metadata(), metadata) == metadata
    assert merge_metadata(metadata, metadata) == metadata
