# SPDX-License-Identifier: Apache-2.0
"""Passes on any graph: the same files, the same layers where they are seen, never more work, nothing left to do."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import event, given, note, settings
from hypothesis import strategies as st
from support.drawn_graphs import SEEDS, Failed, drawn, evaluate
from support.filemodel import apply

from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Graph
from llbkit.llb.ir.verify import verify
from llbkit.llb.text import render
from llbkit.llb.wire import decode, encode
from llbkit.solver import passes
from llbkit.solver.passes import FILES_PIPELINE, PIPELINE, Pass, Seen

FORGIVING = {"prune", "unused", "identity", "scratch-copies"}
"""Passes that may take a step out which would fail."""


def check_results(before: Graph, after: Graph, seen: Seen, hits: set[str]) -> None:
    was, now = evaluate(before.head), evaluate(after.head)
    if isinstance(was, Failed):
        assert isinstance(now, Failed) or hits & FORGIVING
        event("fails")
        return
    assert not isinstance(now, Failed)
    assert apply(now) == apply(was)
    if seen is Seen.LAYERS:
        assert now == was


def work_in(graph: Graph) -> tuple[int, int, int]:
    """Return what a graph makes a worker do: vertices, file actions, copies."""
    actions = [item for vertex in graph if isinstance(vertex.op, ops.File) for item in vertex.op.actions]
    return len(graph), len(actions), sum(isinstance(item.action, ops.Copy) for item in actions)


@settings(max_examples=2000, deadline=None)
@given(SEEDS, st.sampled_from(Seen))
def test_results_are_the_same_and_nothing_is_left_to_do(seed: int, seen: Seen) -> None:
    before = drawn(seed)
    pipeline = PIPELINE if seen is Seen.LAYERS else FILES_PIPELINE
    done = passes.run(before, pipeline)
    after = done.graph
    note(f"{render(before)}\nbecomes\n{render(after)}")
    check_results(before, after, seen, set(done.hits))
    assert all(now <= was for now, was in zip(work_in(after), work_in(before), strict=True))
    verify(after)
    assert decode(encode(after)).vertices == after.vertices
    assert passes.run(after, pipeline).graph is after
    assert (after is before) == (not done.hits)
    check_tables(before, done)
    for name in done.hits:
        event(name)


def check_tables(before: Graph, done: passes.Optimized) -> None:
    """Successors exist or were replaced; steps keep names, and parts tell what each action of a fused step was."""
    after = {vertex.digest: vertex for vertex in done.graph}
    known = {vertex.digest for vertex in before.vertices}
    assert set(done.moved) <= known
    assert set(done.moved.values()) <= set(after)
    names = {before.metadata[digest].description["llb.customname"] for digest in known}
    for digest, vertex in after.items():
        name = done.graph.metadata_of(digest).description["llb.customname"]
        steps = [step for step in name.split(" + ") if not step.endswith(" more")]
        assert set(steps) <= names
        if digest in done.parts:
            assert isinstance(vertex.op, ops.File)
            assert len(done.parts[digest]) == len(vertex.op.actions)
            told = list(dict.fromkeys(part.name for part in done.parts[digest]))
            assert [step for step in told if step in steps] == [step for step in steps if step in told]
            assert len(steps) < len(name.split(" + ")) or set(told) <= set(steps)
    for old in before:
        fused = done.moved.get(old.digest) in done.parts and isinstance(old.op, ops.File)
        if fused and before.metadata[old.digest].ignore_cache:
            assert done.graph.metadata_of(done.moved[old.digest]).ignore_cache
    assert sum(len(one.notes) for one in done.applied) == sum(done.hits.values())


@pytest.mark.parametrize("pipeline", [PIPELINE, FILES_PIPELINE], ids=["layers", "files"])
@pytest.mark.parametrize("number", range(len(PIPELINE)), ids=lambda number: PIPELINE[number].name)
@settings(max_examples=100, deadline=None)
@given(seed=SEEDS)
def test_each_pass_keeps_the_results_of_what_those_before_it_left(
    pipeline: Sequence[Pass], number: int, seed: int
) -> None:
    before = passes.run(drawn(seed), pipeline[:number]).graph
    one = pipeline[number]
    done = one.run(before)
    note(f"{render(before)}\nbecomes\n{render(done.graph)}")
    check_results(
        before, done.graph, Seen.FILES if pipeline is FILES_PIPELINE else Seen.LAYERS, set(done.hits)
    )
    verify(done.graph)
    assert one.run(done.graph).graph is done.graph
    event("applies" if done.hits else "does not")
