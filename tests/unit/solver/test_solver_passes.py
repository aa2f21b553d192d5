# SPDX-License-Identifier: Apache-2.0
"""Passes: what they take out, what they must leave alone, and what becomes of the tables beside the graph."""

from __future__ import annotations

from pathlib import Path

import pytest

import solver.passes
from grammar import Source
from llb import ops
from llb.graph import Edge, Graph, Metadata, Vertex
from llb.sourcemap import Location, SourceInfo, SourceMap
from llb.verify import verify
from llb.walk import postorder
from solver import passes
from solver.passes import FILES_PIPELINE, PIPELINE, optimize
from solver.passes.prune import Prune


def source(name: str) -> Vertex:
    return Vertex.make(ops.Source(identifier=f"docker-image://{name}"))


def merge(*inputs: Vertex) -> Vertex:
    return Vertex.make(ops.Merge(inputs=tuple(range(len(inputs)))), tuple(Edge(v) for v in inputs))


def diff(lower: Vertex | None, upper: Vertex) -> Vertex:
    inputs = tuple(Edge(v) for v in (lower, upper) if v is not None)
    return Vertex.make(ops.Diff(lower=0 if lower is not None else -1, upper=len(inputs) - 1), inputs)


def execute(root: Vertex) -> Vertex:
    op = ops.Exec(meta=ops.Meta(args=("true",)), mounts=(ops.Mount(dest="/", input=0, output=0),))
    return Vertex.make(op, (Edge(root),))


def copy(base: Vertex, source_: Vertex) -> Vertex:
    """Copy, then make a directory in the result: the second action refers to the first by number."""
    actions = (
        ops.FileAction(action=ops.Copy(src="/a", dest="/b"), input=0, secondary_input=1, output=-1),
        ops.FileAction(action=ops.MkDir(path="/d"), input=2, secondary_input=-1, output=0),
    )
    return Vertex.make(ops.File(actions=actions), (Edge(base), Edge(source_)))


def graph(head: Vertex, *more: Vertex, **tables: object) -> Graph:
    vertices = postorder([*more, head], lambda v: [edge.vertex for edge in v.inputs])
    return Graph(vertices=tuple(vertices), head=Edge(head), **tables)  # type: ignore[arg-type]


A, B = source("a"), source("b")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (execute(merge(A)), execute(A)),
        (execute(merge(merge(A))), execute(A)),
        (execute(diff(None, A)), execute(A)),
        (merge(A), A),
        (merge(diff(A, A), A, B), merge(A, B)),
        (merge(diff(A, A), B), B),
        (merge(diff(merge(A), A), diff(None, B)), B),
        (diff(diff(A, A), B), B),
        (copy(merge(A), merge(B)), copy(A, B)),
    ],
)
def test_what_does_nothing_is_taken_out(before: Vertex, after: Vertex) -> None:
    out = optimize(graph(before))
    assert out.head == Edge(after)
    assert [v.digest for v in out.vertices] == [v.digest for v in graph(after).vertices]
    verify(out)
    assert optimize(out) is out


def test_nothing_at_all_is_scratch() -> None:
    out = optimize(graph(diff(A, A)))
    assert out.head is None
    assert out.vertices == ()
    assert optimize(out) is out
    assert optimize(graph(merge(diff(A, A), diff(B, B)))).head is None


def test_scratch_as_the_base_of_file_actions_renumbers_what_follows() -> None:
    out = optimize(graph(copy(diff(A, A), B)))
    assert out.head is not None
    assert out.head.vertex.inputs == (Edge(B),)
    op = out.head.vertex.op
    assert isinstance(op, ops.File)
    assert [(a.input, a.secondary_input, a.output) for a in op.actions] == [(-1, 0, -1), (1, -1, 0)]
    verify(out)


@pytest.mark.parametrize(
    "vertex",
    [
        merge(A, B),
        merge(A, A),
        diff(A, B),
        execute(diff(A, A)),
        copy(A, diff(B, B)),
        execute(merge(Vertex.make(ops.Source(identifier="local://context")))),
        diff(None, Vertex.make(ops.Source(identifier="local://context"))),
    ],
)
def test_what_may_make_a_difference_stays(vertex: Vertex) -> None:
    before = graph(vertex)
    assert optimize(before) is before


def test_wire_fields_that_are_not_understood_keep_everything_below() -> None:
    known = execute(merge(A))
    raw = known.raw + b"\xfa\x3f\x01x"  # field 1023, unknown
    strange = Vertex(op=known.op, inputs=known.inputs, digest="sha256:" + "5" * 64, raw=raw)
    before = graph(strange)
    assert optimize(before) is before
    both = graph(merge(strange, execute(merge(B))))
    out = optimize(both)
    assert out.head is not None
    assert out.head.vertex.inputs == (Edge(strange), Edge(execute(B)))


def test_unreached_vertices_are_dropped_and_the_order_is_kept() -> None:
    before = graph(execute(A), execute(B))
    out = Prune().run(before)
    assert [v.digest for v in out.graph.vertices] == [A.digest, execute(A).digest]
    assert out.hits == {"prune": 2}
    assert Prune().run(out.graph).graph is out.graph


def test_names_and_lines_move_with_their_vertices() -> None:
    text = Source("Dockerfile", "FROM a\nRUN true\n")
    old, new = execute(merge(A)), execute(A)
    before = graph(
        old,
        metadata={
            old.digest: Metadata(description={"llb.customname": "step"}),
            merge(A).digest: Metadata(description={"llb.customname": "gone"}),
            A.digest: Metadata(description={"llb.customname": "image"}),
        },
        source_map=SourceMap(
            infos=(SourceInfo(source=text),), locations={old.digest: (Location(info=0, lines=((2, 2),)),)}
        ),
    )
    done = passes.run(before)
    assert done.graph.metadata_of(new.digest).description == {"llb.customname": "step"}
    assert done.graph.metadata_of(A.digest).description == {"llb.customname": "image"}
    assert [span.start_line for span in done.graph.spans_of(new.digest)] == [2]
    assert done.moved[old.digest] == new.digest
    assert done.moved[merge(A).digest] == A.digest
    assert done.hits == {"identity": 1}


def test_vertices_that_become_one_merge_their_metadata() -> None:
    left, right = execute(merge(A)), execute(A)
    before = graph(
        merge(left, right),
        metadata={
            left.digest: Metadata(ignore_cache=True, caps=("x",)),
            right.digest: Metadata(caps=("y",)),
        },
    )
    out = optimize(before)
    assert out.head is not None
    assert out.head.vertex.inputs == (Edge(right), Edge(right))
    assert out.metadata_of(right.digest) == Metadata(ignore_cache=True, caps=("x", "y"))


def test_every_pass_is_listed() -> None:
    names = [one.name for one in PIPELINE]
    assert len(set(names)) == len(names)
    assert [one.name for one in FILES_PIPELINE] == names
    folder = Path(str(solver.passes.__file__)).parent
    files = {path.stem.replace("_", "-") for path in folder.glob("*.py")}
    assert files - {"--init--", "rewrite", "sight"} == set(names)
