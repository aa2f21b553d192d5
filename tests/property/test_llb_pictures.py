# SPDX-License-Identifier: Apache-2.0
"""Any graph can be drawn without boxes or arrows over each other, and compared with any other."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import combinations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.drawn_ops import graphs

from llbkit.llb.draw import dot, mermaid, svg
from llbkit.llb.draw.layout import layout
from llbkit.llb.draw.picture import Arrow, Box, Picture
from llbkit.llb.ir.graph import Graph
from llbkit.llb.tools.compare import compare
from llbkit.llb.tools.stats import measure

SLOW = [HealthCheck.too_slow]  # a machine that others use as well is no fault of ours


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    """Boxes of some stages or none, each reading some of those before it."""
    count = draw(st.integers(1, 14))
    stages = draw(st.lists(st.sampled_from(["", "a", "b", "c", "d"]), min_size=count, max_size=count))
    boxes = tuple(
        Box(kind="exec", title=f"RUN {number}", details=("x",), digest=str(number), stage=stage)
        for number, stage in enumerate(stages)
    )
    arrows = [
        Arrow(source, target)
        for target in range(1, count)
        for source in sorted(draw(st.sets(st.integers(0, target - 1), max_size=3)))
    ]
    return Picture(boxes=boxes, arrows=tuple(arrows), head=count - 1)


@settings(max_examples=200, deadline=None, suppress_health_check=SLOW)
@given(pictures())
def test_boxes_frames_and_arrows_have_places_of_their_own(drawn: Picture) -> None:
    found = layout(drawn)
    assert len(set(zip(found.rows, found.columns, strict=True))) == len(drawn.boxes)
    assert all(found.rows[arrow.source] < found.rows[arrow.target] for arrow in drawn.arrows)
    spans = [
        (found.columns[lane[0]], found.rows[lane[0]], found.rows[lane[-1]])
        for lane in found.lanes
        if drawn.boxes[lane[0]].stage
    ]
    for (column, first, last), (other, start, end) in combinations(spans, 2):
        assert column != other or last < start or end < first
    assert sorted(number for lane in found.lanes for number in lane) == list(range(len(drawn.boxes)))
    assert len(found.routes) == len(drawn.arrows)
    for route in found.routes:
        if route.gutter < 0 and not route.straight:
            assert found.rows[route.target] == found.rows[route.source] + 1
    for one, other in combinations([route for route in found.routes if route.gutter >= 0], 2):
        if (one.gutter, one.track) == (other.gutter, other.track) and one.source != other.source:
            rows = found.rows
            assert rows[one.target] <= rows[other.source] or rows[other.target] <= rows[one.source]


@settings(max_examples=50, deadline=None, suppress_health_check=SLOW)
@given(graphs())
def test_any_graph_can_be_drawn_and_counted(graph: Graph) -> None:
    ET.fromstring(svg.render(graph))
    assert dot.render(graph).endswith("}\n")
    assert mermaid.render(graph).startswith("flowchart")
    assert measure(graph).text()


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(graphs(), graphs())
def test_comparing_finds_a_change_where_there_is_one(one: Graph, other: Graph) -> None:
    assert not compare(one, one)
    found = compare(one, other)
    if {vertex.digest for vertex in one} != {vertex.digest for vertex in other}:
        assert found
    counts, back = found.counts(), compare(other, one).counts()
    assert counts["added"] + counts["changed"] + counts["affected"] + counts["same"] == len(other)
    assert counts["removed"] + counts["changed"] + counts["affected"] + counts["same"] == len(one)
    assert back["added"] - back["removed"] == counts["removed"] - counts["added"]
    assert found.text()
