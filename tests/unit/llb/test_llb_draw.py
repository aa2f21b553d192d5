# SPDX-License-Identifier: Apache-2.0
"""Pictures: nothing overlaps, nothing is missing, any text is safe in them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

from llbkit import llb
from llbkit.grammar import Source as Text
from llbkit.llb.builder.options import At, SourceText
from llbkit.llb.draw import dot, mermaid, svg
from llbkit.llb.draw.layout import layout
from llbkit.llb.draw.picture import Outcome, picture, seconds
from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Edge, Graph, Vertex
from llbkit.llb.tools.stats import measure

SVG = "{http://www.w3.org/2000/svg}"


def _shop() -> Graph:
    text = SourceText(Text("Dockerfile", "FROM alpine\nRUN make <all>\n"))
    base = llb.image("alpine:3.20", name="[base 1/2] FROM alpine", at=[At(text, ((1, 1),))])
    make = base.run(
        ["make", "<all>"],
        name="[base  2/2] RUN --mount=type=cache,target=/c make <all>",
        at=[At(text, ((2, 2),))],
    )
    context = llb.local("context", name="[internal] load build context")
    page = make.root.copy(context, "/p", "/p", name="[page 1/1] COPY p /p")
    return (
        llb.scratch()
        .copy(page, "/p", "/", name="[stage-2 1/1] COPY --from=page /p /")
        .graph(platform="linux/amd64")
    )


def _outcome_label(graph: Graph) -> list[Outcome]:
    results = ("cached", "ran", "ran", "failed")
    return [
        Outcome(digest=vertex.digest, name="", result=result, seconds=2.5)
        for vertex, result in zip(graph, results, strict=False)
    ]


def test_a_picture_has_short_titles_stages_and_source_lines() -> None:
    drawn = picture(_shop())
    assert [(box.stage, box.title) for box in drawn.boxes] == [
        ("base", "FROM alpine"),
        ("base", "RUN make <all>"),
        ("", "load build context"),
        ("page", "COPY p /p"),
        ("stage-2", "COPY --from=page /p /"),
    ]
    assert drawn.stages() == {"base": [0, 1], "page": [3], "stage-2": [4]}
    assert "Dockerfile:2  RUN make <all>" in drawn.boxes[1].details


def test_outcomes_are_found_by_digest_or_name_and_the_rest_is_pruned() -> None:
    graph = _shop()
    name = graph.metadata_of(graph.vertices[1].digest).description["llb.customname"]
    label = [
        Outcome(digest=graph.vertices[0].digest, name="?", result="cached"),
        Outcome(digest="sha256:other", name=name, result="ran", seconds=1.0),
    ]
    assert [box.result for box in picture(graph, label).boxes] == [
        "cached",
        "ran",
        "pruned",
        "pruned",
        "pruned",
    ]
    assert [box.result for box in picture(graph).boxes] == [""] * 5


def test_an_svg_is_whole_xml_with_every_box_arrow_and_frame() -> None:
    graph = _shop()
    root = ET.fromstring(svg.render(graph, _outcome_label(graph)))
    boxes = [one for one in root.iter(f"{SVG}g") if "n" in (one.get("class") or "").split()]
    assert len(boxes) == len(graph)
    assert len([one for one in root.iter(f"{SVG}path") if one.get("class") == "a"]) == 4
    assert len([one for one in root.iter(f"{SVG}rect") if one.get("class") == "f"]) == 3
    titles = [box.findtext(f"{SVG}title") or "" for box in boxes]
    assert "Dockerfile:2  RUN make <all>" in titles[1]
    texts = " ".join("".join(one.itertext()) for one in root.iter(f"{SVG}text"))
    for said in ("2.5s", "failed 2.5s", "1 pruned", "2 ran", "load build context"):
        assert said in texts


def test_any_text_is_safe() -> None:
    nasty = 'local://]]>"<&\x00\x1b[1m\n|`{}%%--> \\ end'
    top = Vertex.make(ops.Source(identifier=nasty))
    graph = Graph(vertices=(top,), head=Edge(top))
    ET.fromstring(svg.render(graph))
    assert len(dot.render(graph).splitlines()) == 7
    drawn = mermaid.render(graph).splitlines()
    assert len(drawn) == 4
    assert drawn[1].count('"') == 2
    for said in (svg.render(graph), dot.render(graph), mermaid.render(graph), measure(graph).text()):
        assert "\x1b" not in said
        assert "\N{REPLACEMENT CHARACTER}[1m" in said or "\N{REPLACEMENT CHARACTER}#91;1m" in said


def test_mermaid_groups_stages_and_colours() -> None:
    graph = _shop()
    lines = mermaid.render(graph, _outcome_label(graph)).splitlines()
    assert lines[0] == "flowchart TB"
    assert '  subgraph s0["base"]' in lines
    assert '    n1["RUN make #60;all#62;<br/>2.5s"]:::ran' in lines
    assert "  n2 --> n3" in lines
    assert any(line.startswith("  classDef cached ") for line in lines)


def test_dot_groups_stages_and_colours() -> None:
    graph = _shop()
    drawn = dot.render(graph, _outcome_label(graph))
    assert drawn.count("subgraph cluster_") == 3
    assert 'label="base";' in drawn
    assert 'fillcolor="#fecaca"' in drawn


def test_nothing_is_drawn_of_scratch() -> None:
    nothing = Graph(vertices=(), head=None)
    assert ET.fromstring(svg.render(nothing)).tag == f"{SVG}svg"
    assert dot.render(nothing).startswith("digraph")
    assert mermaid.render(nothing) == "flowchart TB\n"


def test_a_graph_far_deeper_than_the_stack_is_laid_out() -> None:
    vertices = [Vertex.make(ops.Source(identifier="local://x"))]
    for number in range(5000):
        step = ops.FileAction(action=ops.MkDir(path=f"/{number}"), secondary_input=-1)
        vertices.append(Vertex.make(ops.File(actions=(step,)), (Edge(vertices[-1]),)))
    found = layout(picture(Graph(vertices=tuple(vertices), head=Edge(vertices[-1]))))
    assert found.rows == list(range(5001))
    assert set(found.columns) == {0}
    assert all(route.straight for route in found.routes)


def test_durations_are_short() -> None:
    assert [seconds(value) for value in (0.0004, 0.25, 1.04, 99.9, 125)] == [
        "0ms",
        "250ms",
        "1.0s",
        "99.9s",
        "2m05s",
    ]


def test_a_graph_is_counted() -> None:
    graph = _shop()
    found = measure(graph)
    assert (found.vertices, found.edges, found.depth, found.width) == (5, 4, 4, 2)
    assert found.kinds == {"source": 2, "file": 2, "exec": 1}
    assert found.actions == {"copy": 2}
    assert found.sources == ["docker-image://docker.io/library/alpine:3.20", "local://context"]
    assert found.path[0] == "[base 1/2] FROM alpine"
    assert len(found.path) == 4
    assert (found.unused, found.shared) == (0, 0)
    assert measure(replace(graph, head=None)).unused == 5
    assert "longest path" in found.text()
    assert found.as_json()["text_size"] == 27
    assert measure(Graph(vertices=(), head=None)).depth == 0
