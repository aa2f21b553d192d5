# SPDX-License-Identifier: Apache-2.0
"""Recorded definitions and ops keep their bytes, whether these are kept or re-encoded from the decoded values."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llbkit.conformance.opjson import ops_of
from llbkit.llb.ir.graph import Graph, Vertex
from llbkit.llb.wire import decode, decode_op, encode

VECTORS = Path(__file__).parents[3] / "conformance" / "vectors"


def _load(part: str) -> list[dict[str, Any]]:
    cases = json.loads((VECTORS / f"{part}.open.json").read_text())
    assert isinstance(cases, list)
    return cases


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited field, written without the code under test."""
    size, length = len(payload), bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2]) + bytes(length) + bytes([size]) + payload


def _made_anew(vertex: Vertex) -> bytes:
    made = Vertex.make(vertex.op, vertex.inputs, platform=vertex.platform, constraints=vertex.constraints)
    return made.raw


DEFINITIONS = [case for case in _load("llb") if case.get("definition")]
RESULTS = [
    pytest.param(result, id=f"{case['name']}-{number}")
    for case in _load("dockerfile")
    for number, result in enumerate(case.get("results", ()))
    if result["ops"]
]


@pytest.mark.parametrize("case", DEFINITIONS, ids=lambda case: str(case["name"]))
def test_a_recorded_definition_survives_decoding(case: dict[str, Any]) -> None:
    data = base64.b64decode(case["definition"])
    graph = decode(data)
    assert encode(graph) == data
    assert [item["op"] for item in ops_of(graph)] == [item["op"] for item in case["ops"]]
    assert graph.head is not None
    assert graph.head.vertex.digest == case["head"]


@pytest.mark.parametrize("case", DEFINITIONS, ids=lambda case: str(case["name"]))
def test_ops_of_a_definition_are_encoded_anew_to_the_same_bytes(case: dict[str, Any]) -> None:
    graph = decode(base64.b64decode(case["definition"]))
    recorded = {item["digest"]: base64.b64decode(item["bytes"]) for item in case["ops"]}
    assert {v.digest: _made_anew(v) for v in graph} == {v.digest: recorded[v.digest] for v in graph}


@pytest.mark.parametrize("result", RESULTS)
def test_ops_of_a_dockerfile_are_encoded_anew_to_the_same_bytes(result: dict[str, Any]) -> None:
    graph = _graph_of(result)
    recorded = [base64.b64decode(item["bytes"]) for item in result["ops"]]
    assert [_made_anew(vertex) for vertex in graph] == recorded[:-1]
    assert graph.head is not None
    assert graph.head.vertex.digest == result["head"]


def _graph_of(result: dict[str, Any]) -> Graph:
    return decode(b"".join(_field(1, base64.b64decode(item["bytes"])) for item in result["ops"]))


def _recorded_ops() -> Iterator[dict[str, Any]]:
    for case in DEFINITIONS:
        yield from case["ops"]
    for param in RESULTS:
        result = param.values[0]
        assert isinstance(result, dict)
        yield from result["ops"]


def test_inputs_of_an_op_are_the_recorded_ones() -> None:
    seen = 0
    for item in _recorded_ops():
        if item["op"].keys() == {"inputs"}:
            continue
        _, inputs = decode_op(base64.b64decode(item["bytes"]))
        recorded = [(entry["digest"], entry.get("index", 0)) for entry in item["op"].get("inputs", ())]
        assert list(inputs) == recorded
        seen += len(recorded)
    assert seen > 500


def test_source_locations_of_a_recorded_definition_become_spans() -> None:
    (case,) = (case for case in DEFINITIONS if case["name"] == "source-locations")
    graph = decode(base64.b64decode(case["definition"]))
    assert graph.head is not None
    spans = graph.spans_of(graph.head.vertex.digest)
    assert [(span.source.name, span.text) for span in spans] == [("Buildfile", "two"), ("Buildfile", "three")]
