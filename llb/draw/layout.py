# SPDX-License-Identifier: Apache-2.0
"""Layout of boxes and arrows: rows by longest path, a column for each stage or chain, arrows along the gaps between them.

A *lane* is a stage, or a chain of boxes that belong to none. Its boxes stand in one column, one below the other, so a frame
around it meets no other box. Rows are the longest path down, each lane then moved down as far as its users allow. Lanes
that have no row in common may share a column; columns are put in order by the mean of their neighbours (barycentres) as long
as arrows become shorter. An arrow to the next row runs in the gap between the rows; a longer one goes down beside the column
of its target. Arrows of one box share their way, those of others get a track of their own (greedy colouring of intervals).

Cost: O(n log n) in boxes and arrows, but for the sweeps over columns, of which there are a few.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import field

from llbkit.llb.draw.picture import Picture
from llbkit.records import dataclass

_SWEEPS = 12


@dataclass(frozen=True, slots=True)
class Route:
    """The way of one arrow, in rows, columns and tracks. Without ``gutter`` it stays in the gap below its source.

    ``leave`` and ``enter`` are tracks in the gaps below the source and above the target, ``gutter`` the gap left of that
    column, ``track`` the track in it. A ``straight`` arrow goes down its column.
    """

    source: int
    target: int
    output: int
    straight: bool = False
    leave: int = 0
    gutter: int = -1
    track: int = 0
    enter: int = 0


@dataclass(slots=True)
class Layout:
    """Row and column of each box, lanes with their boxes from top to bottom, routes, and how many tracks each gap has."""

    rows: list[int]
    columns: list[int]
    lanes: list[list[int]]
    routes: list[Route] = field(default_factory=list)
    gap_tracks: list[tuple[int, int]] = field(default_factory=list)
    gutter_tracks: list[int] = field(default_factory=list)


def layout(picture: Picture) -> Layout:
    """Return the layout of a picture."""
    lanes, lane_of = _lanes(picture)
    rows = _rows(picture, lane_of)
    _lower(picture, lanes, lane_of, rows)
    columns = _columns(picture, lanes, lane_of, rows)
    out = Layout(rows, [columns[lane_of[number]] for number in range(len(picture.boxes))], lanes)
    _route(picture, out)
    return out


def _lanes(picture: Picture) -> tuple[list[list[int]], list[int]]:
    lanes: list[list[int]] = []
    lane_of = [-1] * len(picture.boxes)
    by_stage: dict[str, int] = {}
    first_input: dict[int, int] = {}
    for arrow in picture.arrows:
        first_input.setdefault(arrow.target, arrow.source)
    for number, box in enumerate(picture.boxes):
        below = first_input.get(number)
        lane = by_stage.get(box.stage) if box.stage else None
        if lane is None and not box.stage and below is not None:
            other = lane_of[below]
            if not picture.boxes[below].stage and lanes[other][-1] == below:
                lane = other
        if lane is None:
            lane = len(lanes)
            lanes.append([])
            if box.stage:
                by_stage[box.stage] = lane
        lane_of[number] = lane
        lanes[lane].append(number)
    return lanes, lane_of


def _rows(picture: Picture, lane_of: Sequence[int]) -> list[int]:
    rows = [0] * len(picture.boxes)
    lowest: dict[int, int] = {}
    inputs: list[list[int]] = [[] for _ in picture.boxes]
    for arrow in picture.arrows:
        inputs[arrow.target].append(arrow.source)
    for number in range(len(picture.boxes)):
        above = [rows[source] for source in inputs[number]]
        if lane_of[number] in lowest:
            above.append(lowest[lane_of[number]])
        rows[number] = max(above, default=-1) + 1
        lowest[lane_of[number]] = rows[number]
    return rows


def _lower(picture: Picture, lanes: Sequence[list[int]], lane_of: Sequence[int], rows: list[int]) -> None:
    """Move lanes down to their users where that makes arrows shorter: a base image stands above what it is a base of."""
    out: list[list[tuple[int, int]]] = [[] for _ in lanes]
    coming = [0] * len(lanes)
    for arrow in picture.arrows:
        if lane_of[arrow.source] != lane_of[arrow.target]:
            out[lane_of[arrow.source]].append((arrow.source, arrow.target))
            coming[lane_of[arrow.target]] += 1
    for lane in sorted(range(len(lanes)), key=lambda lane: -rows[lanes[lane][0]]):
        if not out[lane] or coming[lane] >= len(out[lane]):
            continue
        slack = min(rows[target] - rows[source] for source, target in out[lane]) - 1
        if slack > 0:
            for number in lanes[lane]:
                rows[number] += slack


def _columns(
    picture: Picture, lanes: Sequence[list[int]], lane_of: Sequence[int], rows: Sequence[int]
) -> list[int]:
    links: list[list[int]] = [[] for _ in lanes]
    for arrow in picture.arrows:
        one, other = lane_of[arrow.source], lane_of[arrow.target]
        if one != other:
            links[one].append(other)
            links[other].append(one)
    columns = [-1] * len(lanes)
    count = 0
    free: list[int] = []
    busy: list[tuple[int, int]] = []
    for lane in sorted(range(len(lanes)), key=lambda lane: (rows[lanes[lane][0]], lane)):
        first, last = rows[lanes[lane][0]], rows[lanes[lane][-1]]
        while busy and busy[0][0] < first:
            insort(free, heapq.heappop(busy)[1])
        placed = [columns[other] for other in links[lane] if columns[other] >= 0]
        wanted = sum(placed) / len(placed) if placed else count
        if free:
            place = bisect_left(free, wanted)
            near = [n for n in (place - 1, place) if 0 <= n < len(free)]
            column = free.pop(min(near, key=lambda n: abs(free[n] - wanted)))
        else:
            column, count = count, count + 1
        columns[lane] = column
        heapq.heappush(busy, (last, column))
    return _ordered(columns, links, count)


def _ordered(columns: Sequence[int], links: Sequence[Sequence[int]], count: int) -> list[int]:
    """Return columns in the order that makes arrows short, found by sweeps of barycentres."""
    pairs = [(columns[lane], columns[other]) for lane, others in enumerate(links) for other in others]
    neighbours: list[list[int]] = [[] for _ in range(count)]
    for one, other in pairs:
        if one != other:
            neighbours[one].append(other)
    place = list(range(count))
    best, shortest = list(place), sum(abs(one - other) for one, other in pairs)
    for _ in range(_SWEEPS):
        wanted = [
            (sum(place[other] for other in near) / len(near) if near else place[column], place[column])
            for column, near in enumerate(neighbours)
        ]
        for number, column in enumerate(sorted(range(count), key=wanted.__getitem__)):
            place[column] = number
        length = sum(abs(place[one] - place[other]) for one, other in pairs)
        if length < shortest:
            best, shortest = list(place), length
    return [best[column] for column in columns]


def _route(picture: Picture, out: Layout) -> None:
    rows, columns = out.rows, out.columns
    depth = max(rows, default=-1) + 1
    width = max(columns, default=-1) + 1
    taken = {(rows[number], columns[number]) for number in range(len(rows))}
    below: dict[int, list[int]] = {}
    for row, column in sorted(taken):
        below.setdefault(column, []).append(row)
    leaves: list[dict[int, list[float]]] = [{} for _ in range(depth + 1)]
    enters: list[dict[tuple[int, int], list[float]]] = [{} for _ in range(depth + 1)]
    gutters: list[dict[tuple[int, int], list[float]]] = [{} for _ in range(width + 1)]
    drafts = []
    for arrow in picture.arrows:
        row, end = rows[arrow.source], rows[arrow.target]
        column, goal = columns[arrow.source], columns[arrow.target]
        if column == goal and _is_clear(below[column], row, end):
            drafts.append((arrow, True, -1))
            continue
        gutter = -1
        if end > row + 1:
            gutter = goal if column < goal else goal + 1
            gutters[gutter].setdefault((arrow.source, gutter), []).extend([row + 0.6, end - 0.4])
            enters[end].setdefault((arrow.source, arrow.target), []).extend([gutter - 0.5, goal])
        leaves[row].setdefault(arrow.source, []).extend([column, goal if gutter < 0 else gutter - 0.5])
        drafts.append((arrow, False, gutter))
    leaving = [_tracks(one) for one in leaves]
    entering = [_tracks(one) for one in enters]
    beside = [_tracks(one) for one in gutters]
    for arrow, straight, gutter in drafts:
        row, end = rows[arrow.source], rows[arrow.target]
        out.routes.append(
            Route(
                arrow.source,
                arrow.target,
                arrow.output,
                straight=straight,
                leave=0 if straight else leaving[row][0][arrow.source],
                gutter=gutter,
                track=0 if gutter < 0 else beside[gutter][0][arrow.source, gutter],
                enter=0 if gutter < 0 else entering[end][0][arrow.source, arrow.target],
            )
        )
    # The gap below row r: tracks of arrows that leave r, then of arrows that enter r + 1.
    out.gap_tracks = [(leaving[row][1], entering[row + 1][1]) for row in range(depth)]
    out.gutter_tracks = [count for _, count in beside]


def _is_clear(column: Sequence[int], row: int, end: int) -> bool:
    """Return whether no box stands between two rows of a column."""
    return column[bisect_left(column, row) + 1] == end


def _tracks(
    intervals: dict[object, list[float]] | dict[int, list[float]] | dict[tuple[int, int], list[float]],
) -> tuple[dict[object, int], int]:
    """Return a track for each interval so that none overlap, and how many tracks there are."""
    tracks: dict[object, int] = {}
    busy: list[tuple[float, int]] = []
    free: list[int] = []
    count = 0
    spans: Iterable[tuple[float, float, object]] = (
        (min(points), max(points), key) for key, points in intervals.items()
    )
    for first, last, key in sorted(spans, key=lambda span: span[:2]):
        while busy and busy[0][0] < first:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if free:
            track = heapq.heappop(free)
        else:
            track, count = count, count + 1
        tracks[key] = track
        heapq.heappush(busy, (last, track))
    return tracks, count
