# SPDX-License-Identifier: Apache-2.0
"""Passes: what they remove, what they must leave alone, and the metadata of the rewritten graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.solving import graph_of, solver_of

import llbkit.solver.passes
from llbkit.grammar import Source
from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Edge, Graph, Metadata, ProgressGroup, Vertex
from llbkit.llb.ir.sourcemap import Location, SourceInfo, SourceMap
from llbkit.llb.ir.verify import verify
from llbkit.llb.ir.walk import postorder
from llbkit.solver import passes
from llbkit.solver.fake import FakeWorker, number, run, total
from llbkit.solver.passes import FILES_PIPELINE, PIPELINE, optimize
from llbkit.solver.passes.prune import Prune


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
    folder = Path(str(llbkit.solver.passes.__file__)).parent
    files = {path.stem.replace("_", "-") for path in folder.glob("*.py")}
    assert files - {"--init--", "rewrite", "visibility"} == set(names)


# -- one pass at a time


def made(*actions: ops.Action, base: Vertex | None = None, source_: Vertex | None = None) -> Vertex:
    """Return a file op of actions one after the other; copies read ``source_``."""
    inputs = tuple(Edge(vertex) for vertex in (base, source_) if vertex is not None)
    count, last = len(inputs), len(actions) - 1
    items = tuple(
        ops.FileAction(
            action=action,
            input=(0 if base is not None else -1) if number == 0 else count + number - 1,
            secondary_input=count - 1 if isinstance(action, ops.Copy) else -1,
            output=0 if number == last else -1,
        )
        for number, action in enumerate(actions)
    )
    return Vertex.make(ops.File(actions=items), inputs)


def reading(files: Vertex, **mount: object) -> Vertex:
    """Return a process on A that sees files at /r."""
    seen = ops.Mount(dest="/r", input=1, **{"output": -1, "readonly": True, **mount})  # type: ignore[arg-type]
    op = ops.Exec(meta=ops.Meta(args=("read",)), mounts=(ops.Mount(dest="/", input=0), seen))
    return Vertex.make(op, (Edge(A), Edge(files)))


ONE, TWO = ops.MkDir(path="/one"), ops.MkDir(path="/two")
PLAIN = ops.Copy(src="/", dest="/", mode=-1, timestamp=-1, dir_copy_contents=True)
COPY = ops.Copy(src="/x", dest="/y")


def test_a_chain_that_is_only_read_is_fused() -> None:
    out = optimize(graph(reading(made(TWO, base=made(COPY, base=B, source_=A)))))
    assert out.head == Edge(reading(made(COPY, TWO, base=B, source_=A)))


@pytest.mark.parametrize(
    "head",
    [
        made(TWO, base=made(ONE, base=A)),
        execute(made(TWO, base=made(ONE, base=A))),
        merge(A, made(TWO, base=made(ONE))),
        diff(A, made(TWO, base=made(ONE, base=A))),
        reading(made(TWO, base=made(ONE)), output=1, readonly=False),
        reading(made(TWO, base=made(ONE)), content_cache=ops.ContentCache.OFF),
        reading(made(TWO, base=made(ONE)), mount_type=ops.MountType.CACHE, cache=ops.CacheOpt(id="c")),
        reading(made(COPY, base=made(COPY, base=B, source_=A), source_=B)),
        reading(made(TWO, base=execute(made(ONE, base=B)))),
        merge(reading(made(TWO, base=made(ONE))), reading(made(ONE))),
    ],
    ids=[
        "head",
        "root",
        "merge",
        "diff",
        "kept",
        "not by content",
        "cache",
        "two copies",
        "process",
        "reader",
    ],
)
def test_a_chain_is_not_fused_where_it_could_be_noticed(head: Vertex) -> None:
    assert "fuse" not in passes.run(graph(head)).hits


def test_the_head_is_fused_where_only_its_files_are_seen() -> None:
    done = passes.run(graph(made(TWO, base=made(ONE, base=A))), FILES_PIPELINE)
    assert done.graph.head == Edge(made(ONE, TWO, base=A))
    assert done.hits == {"fuse": 1}


def test_steps_that_are_cached_or_placed_differently_are_not_fused() -> None:
    lower = made(ONE, base=A)
    head = reading(made(TWO, base=lower))
    assert "fuse" not in passes.run(graph(head, metadata={lower.digest: Metadata(ignore_cache=True)})).hits
    grouped = Metadata(progress_group=ProgressGroup(id="g"))
    assert "fuse" not in passes.run(graph(head, metadata={lower.digest: grouped})).hits
    elsewhere = Vertex.make(lower.op, lower.inputs, constraints=("label==x",))
    assert "fuse" not in passes.run(graph(reading(made(TWO, base=elsewhere)))).hits


def test_a_fused_step_keeps_names_lines_and_the_origin_of_each_action() -> None:
    text = Source("Dockerfile", "FROM a\nCOPY x y\nRUN true\n")
    lower = made(COPY, base=B, source_=A)
    upper = made(ONE, TWO, base=lower)
    before = graph(
        reading(upper),
        metadata={
            lower.digest: Metadata(description={"llb.customname": "COPY x y"}, caps=("x",)),
            upper.digest: Metadata(description={"llb.customname": "WORKDIR"}, caps=("y",)),
        },
        source_map=SourceMap(
            infos=(SourceInfo(source=text),),
            locations={
                lower.digest: (Location(info=0, lines=((2, 2),)),),
                upper.digest: (Location(info=0, lines=((3, 3),)),),
            },
        ),
    )
    done = passes.run(before)
    digest = done.moved[lower.digest]
    assert done.moved[upper.digest] == digest
    assert done.graph.metadata_of(digest) == Metadata(
        description={"llb.customname": "COPY x y + WORKDIR"}, caps=("x", "y")
    )
    assert [span.start_line for span in done.graph.spans_of(digest)] == [3, 2]
    parts = done.parts[digest]
    assert [part.name for part in parts] == ["COPY x y", "WORKDIR", "WORKDIR"]
    assert [part.spans[0].start_line for part in parts] == [2, 3, 3]


def test_local_directories_that_differ_for_other_clients_only_are_read_once() -> None:
    def local(**attrs: str) -> Vertex:
        return Vertex.make(ops.Source(identifier="local://context", attrs=attrs))

    one, twin = local(**{"local.unique": "1"}), local(**{"local.unique": "2", "local.sharedkeyhint": "x"})
    other = local(**{"local.unique": "2", "local.includepattern": '["a"]'})
    foreign = local(**{"local.unique": "2", "local.session": "s"})
    out = optimize(
        graph(merge(made(COPY, source_=one), *(made(ONE, COPY, source_=v) for v in (twin, other, foreign))))
    )
    assert [v for v in out if isinstance(v.op, ops.Source)] == [one, other, foreign]


def test_a_vertex_is_listed_once() -> None:
    out = passes.run(Graph(vertices=(A, A, execute(A)), head=Edge(execute(A))))
    assert out.graph.vertices == (A, execute(A))
    assert out.hits == {"dedupe": 1}


def test_inputs_and_mounts_without_effect_are_dropped() -> None:
    root, where = ops.Mount(dest="/", input=1), ops.Mount(dest="/m", input=2, output=-1)
    covered = ops.Mount(dest="/m/", input=0, output=-1, readonly=True)
    run_ = ops.Exec(meta=ops.Meta(args=("x",)), mounts=(root, covered, where))
    before = Vertex.make(run_, (Edge(B), Edge(A), Edge(source("c"))))
    out = optimize(graph(before))
    assert out.head is not None
    assert out.head.vertex.inputs == (Edge(A), Edge(source("c")))
    assert isinstance(out.head.vertex.op, ops.Exec)
    assert [(m.dest, m.input) for m in out.head.vertex.op.mounts] == [("/", 0), ("/m", 1)]


@pytest.mark.parametrize(
    "hidden",
    [
        ops.Mount(dest="/m", input=0, output=1),
        ops.Mount(dest="/m", input=0, output=-1, selector="may/be/missing"),
        ops.Mount(dest="m", input=0, output=-1),
        ops.Mount(dest="/m", input=-1, mount_type=ops.MountType.SECRET, secret=ops.SecretOpt(id="s")),
        ops.Mount(dest="/m", input=-1, mount_type=ops.MountType.CACHE, cache=ops.CacheOpt(id="c")),
    ],
)
def test_a_covered_mount_that_could_be_noticed_stays(hidden: ops.Mount) -> None:
    mounts = (ops.Mount(dest="/", input=0), hidden, ops.Mount(dest="/m", input=0, output=-1))
    before = graph(Vertex.make(ops.Exec(meta=ops.Meta(args=("x",)), mounts=mounts), (Edge(A),)))
    assert optimize(before) is before


def test_owners_keep_their_input_when_another_is_dropped() -> None:
    owner = ops.Chown(user=ops.NamedUser(name="u", input=1))
    item = ops.FileAction(action=ops.MkDir(path="/d", owner=owner), input=-1, secondary_input=-1)
    out = optimize(graph(Vertex.make(ops.File(actions=(item,)), (Edge(A), Edge(B)))))
    assert out.head is not None
    assert out.head.vertex.inputs == (Edge(B),)
    assert isinstance(out.head.vertex.op, ops.File)
    action = out.head.vertex.op.actions[0].action
    assert isinstance(action, ops.MkDir)
    assert action.owner == ops.Chown(user=ops.NamedUser(name="u", input=0))


def test_making_the_root_is_no_action_but_a_layer() -> None:
    root = ops.MkDir(path="/", mode=0o700, make_parents=True)
    assert optimize(graph(made(root, ONE, base=A))).head == Edge(made(ONE, base=A))
    alone = graph(made(root, base=A))
    assert optimize(alone) is alone
    last = graph(made(ONE, root, base=A))
    assert optimize(last) is last


@pytest.mark.parametrize("repeated", [made(PLAIN, source_=B), made(ops.MkDir(path="/"), base=B)])
def test_a_copy_reads_past_what_repeats_a_tree(repeated: Vertex) -> None:
    assert optimize(graph(made(COPY, base=A, source_=repeated))).head == Edge(made(COPY, base=A, source_=B))
    twice = made(PLAIN, source_=repeated)
    assert optimize(graph(made(COPY, base=A, source_=twice))).head == Edge(made(COPY, base=A, source_=B))


@pytest.mark.parametrize(
    "repeated",
    [
        made(replace(PLAIN, timestamp=0), source_=B),
        made(replace(PLAIN, mode=0o644), source_=B),
        made(replace(PLAIN, mode_str="u+x"), source_=B),
        made(replace(PLAIN, owner=ops.Chown(user=1)), source_=B),
        made(replace(PLAIN, exclude_patterns=("*.o",)), source_=B),
        made(replace(PLAIN, src="/usr"), source_=B),
        made(PLAIN, base=A, source_=B),
        made(PLAIN, source_=Vertex.make(ops.Source(identifier="local://context"))),
    ],
)
def test_a_copy_does_not_read_past_what_changes_something(repeated: Vertex) -> None:
    assert "scratch-copies" not in passes.run(graph(made(COPY, base=A, source_=repeated))).hits


@pytest.mark.parametrize("src", ["/", "/*", "/a/../..", ""])
def test_a_copy_that_may_see_the_root_itself_does_not_read_past(src: str) -> None:
    user = made(replace(COPY, src=src), base=A, source_=made(PLAIN, source_=B))
    assert "scratch-copies" not in passes.run(graph(user)).hits


def test_sources_come_first_in_the_order_in_which_they_are_needed() -> None:
    head = copy(execute(A), copy(execute(B), source("c")))
    out = optimize(graph(head))
    assert list(out)[:3] == [A, B, source("c")]
    verify(out)


def test_what_was_done_is_told_by_step() -> None:
    before = graph(
        execute(merge(A)), metadata={merge(A).digest: Metadata(description={"llb.customname": "M"})}
    )
    done = passes.run(before)
    assert [(one.name, one.before, one.after) for one in done.applied if one.notes] == [("identity", 3, 2)]
    assert [note.step for note in done.notes] == ["M"]
    assert passes.run(before, passes.NO_PASSES).graph is before


def test_keys_of_sources_are_asked_for_first() -> None:
    worker = FakeWorker()
    late = total("end", total("middle", number("early", 1)), number("late", 2))
    asked = optimize(graph_of(late))

    async def main() -> object:
        async with solver_of(worker).job(session=None) as job:
            return await job.solve(asked)

    assert run(worker.clock, main()) == 3
    assert list(worker.keys) == ["early", "late", "middle", "end"]


def test_a_long_chain_becomes_one_step_with_a_short_name() -> None:
    files = B
    for step in range(2000):
        files = made(ops.MkDir(path=f"/{step}"), base=files)
    done = passes.run(graph(reading(files)))
    assert done.hits["fuse"] == 1999
    fused = done.graph.vertices[2]
    assert isinstance(fused.op, ops.File)
    assert len(fused.op.actions) == len(done.parts[fused.digest]) == 2000
    assert done.graph.metadata_of(fused.digest).description == {
        "llb.customname": "mkdir /0 + 1998 more + mkdir /1999"
    }


def test_the_output_of_a_read_only_mount_is_what_is_mounted() -> None:
    process = reading(B, output=1)
    read = Vertex.make(made(COPY, base=A, source_=A).op, (Edge(A), Edge(process, 1)))
    done = passes.run(graph(read))
    assert done.graph.head == Edge(made(COPY, base=A, source_=B))
    assert done.hits == {"identity": 1}
    writable = reading(B, output=1, readonly=False)
    before = graph(Vertex.make(read.op, (Edge(A), Edge(writable, 1))))
    assert "identity" not in passes.run(before).hits


def test_a_process_on_an_empty_read_only_output_mounts_what_is_empty() -> None:
    process = reading(diff(A, A), output=1)
    user = ops.Exec(meta=ops.Meta(args=("x",)), mounts=(ops.Mount(dest="/", input=0),))
    out = optimize(graph(Vertex.make(user, (Edge(process, 1),))))
    assert out.head == Edge(Vertex.make(user, (Edge(diff(A, A)),)))
