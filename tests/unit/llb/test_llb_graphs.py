# SPDX-License-Identifier: Apache-2.0
"""Graphs: deep ones, shared ones, their locations and metadata."""

from __future__ import annotations

import subprocess
import sys

import pytest

from llbkit import llb
from llbkit.grammar import Source as Text
from llbkit.llb.builder.options import At, SourceText
from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Edge, Graph, LinuxResources, Metadata, ProgressGroup, Vertex, merge_metadata
from llbkit.llb.ir.sourcemap import Location, SourceInfo, SourceMap
from llbkit.llb.ir.walk import postorder
from llbkit.llb.wire import decode, encode

BASE = Vertex.make(ops.Source(identifier="docker-image://docker.io/library/alpine:3.20"))
DEPTH = 100_000


def _chain(depth: int) -> Graph:
    vertices = [BASE]
    for number in range(depth - 1):
        step = ops.FileAction(action=ops.MkDir(path=f"/{number}"), secondary_input=-1)
        vertices.append(Vertex.make(ops.File(actions=(step,)), (Edge(vertices[-1]),)))
    return Graph(vertices=tuple(vertices), head=Edge(vertices[-1]))


def test_a_chain_far_deeper_than_the_stack_survives_the_wire_and_is_rendered() -> None:
    from llbkit.llb import text
    from llbkit.llb.draw import dot

    graph = _chain(DEPTH)
    data = encode(graph)
    back = decode(data)
    assert len(back) == DEPTH
    assert encode(back) == data
    assert text.render(back).endswith(f"head %mkdir-{DEPTH - 2}\n")
    assert dot.render(back).count(" -> ") == DEPTH
    assert llb.from_graph(back).graph(platform="linux/amd64").vertices == back.vertices


def test_a_state_of_very_many_steps_becomes_a_graph() -> None:
    state = llb.image("alpine:3.20")
    for number in range(20_000):
        state = state.run(["step", str(number)]).root
    assert len(state.graph(platform="linux/amd64")) == 20_001


def test_printing_a_vertex_does_not_print_what_is_below_it() -> None:
    top = _chain(5_000).vertices[-1]
    assert len(repr(Edge(top))) < 1_000
    assert top.digest in repr(top)
    assert top.inputs[0].vertex.digest not in repr(top)


def test_vertices_are_equal_by_digest() -> None:
    again = Vertex.make(ops.Source(identifier=BASE.op.identifier))  # type: ignore[union-attr]
    other = Vertex.make(ops.Source(identifier="local://x"))
    assert again is not BASE
    assert {again, BASE, other} == {BASE, other}
    assert len({BASE, BASE.digest}) == 2


def test_a_shared_input_is_one_vertex_on_every_way() -> None:
    base = llb.image("alpine:3.20")
    graph = llb.merge([base.run(["a"]).root, base.run(["b"]).root]).graph(platform="linux/amd64")
    assert len(graph) == 4
    assert len(decode(encode(graph))) == 4


def test_walking_gives_inputs_first_in_their_order_and_each_once() -> None:
    below = {"top": ["b", "a", "b"], "a": ["leaf"], "b": ["leaf"], "leaf": []}
    assert postorder(["top", "a"], below.__getitem__) == ["leaf", "b", "a", "top"]


@pytest.mark.parametrize("below", [{"a": ["a"]}, {"a": ["b"], "b": ["c"], "c": ["a"]}])
def test_walking_in_a_circle_is_an_error(below: dict[str, list[str]]) -> None:
    with pytest.raises(ValueError, match="cycle"):
        postorder(["a"], below.__getitem__)


def _located(*locations: Location, definition: bytes | None = None) -> Graph:
    info = SourceInfo(source=Text("Buildfile", "one\ntwo\nthree\n", "Custom"), definition=definition)
    source_map = SourceMap(infos=(info,), locations={BASE.digest: locations})
    return Graph(vertices=(BASE,), head=Edge(BASE), source_map=source_map)


def test_columns_of_locations_survive_the_wire() -> None:
    exact = Location(0, ((1, 1), (2, 3)), ((0, 2), (1, 4)))
    back = decode(encode(_located(exact, Location(0, ((1, 2),)))))
    assert back.source_map.locations[BASE.digest] == (exact, Location(0, ((1, 2),)))
    assert exact.ranges == ((1, 0, 1, 2), (2, 1, 3, 4))


def test_spans_come_last_recorded_first() -> None:
    graph = _located(Location(0, ((1, 1),)), Location(0, ((2, 3),)))
    assert [span.text for span in graph.spans_of(BASE.digest)] == ["two\nthree", "one"]
    assert graph.spans_of("sha256:unknown") == ()


def test_a_finished_graph_keeps_columns_and_definitions_in_a_new_one() -> None:
    definition = encode(llb.local("src", session_id="s").graph(platform="linux/amd64"))
    graph = _located(Location(0, ((1, 1),), ((0, 3),)), definition=definition)
    grown = llb.from_graph(graph).run(["true"]).root.graph(platform="linux/amd64")
    assert grown.source_map.locations[BASE.digest] == (Location(0, ((1, 1),), ((0, 3),)),)
    (info,) = grown.source_map.infos
    assert (info.source.name, info.definition) == ("Buildfile", definition)


def test_a_text_may_say_what_it_was_read_from() -> None:
    text = SourceText(Text("Buildfile", "one\n"), llb.local("src", session_id="s"))
    graph = llb.image("alpine:3.20", at=[At(text, ((1, 1),))]).graph(platform="linux/amd64")
    (info,) = graph.source_map.infos
    assert info.definition is not None
    assert [vertex.op for vertex in decode(info.definition)] == [
        ops.Source(identifier="local://src", attrs={"local.session": "s"})
    ]


def test_merged_metadata_takes_later_words_and_unites_demands() -> None:
    first = Metadata(
        ignore_cache=True,
        description={"a": "1", "b": "1"},
        export_cache=False,
        caps=("x", "z"),
        progress_group=ProgressGroup(id="one"),
        linux_resources=LinuxResources(memory=1),
    )
    second = Metadata(description={"b": "2"}, caps=("y", "x"), progress_group=ProgressGroup(id="two"))
    assert merge_metadata(first, second) == Metadata(
        ignore_cache=True,
        description={"a": "1", "b": "2"},
        export_cache=False,
        caps=("x", "y", "z"),
        progress_group=ProgressGroup(id="two"),
        linux_resources=LinuxResources(memory=1),
    )


def test_importing_the_builder_does_not_import_protobuf() -> None:
    code = "import sys, llbkit.llb.builder.state, llbkit.llb.builder.sources; print(any(m.startswith('google.protobuf') for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
