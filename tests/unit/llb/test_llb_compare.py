# SPDX-License-Identifier: Apache-2.0
"""Differences between two graphs are reported by step and field, and nothing else is."""

from __future__ import annotations

from llbkit import llb
from llbkit.llb.builder.state import State
from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Graph
from llbkit.llb.tools.compare import Comparison, compare
from llbkit.llb.wire import decode, encode

PLATFORM = "linux/amd64"


def _base(tag: str = "3.19") -> State:
    return llb.image(f"alpine:{tag}", name=f"[build 1/3] FROM alpine:{tag}")


def _program(base: State, *, make: str = "make all", session: str = "one", extra: bool = False) -> Graph:
    context = llb.local("context", session_id=session, name="[internal] load build context")
    state = base.copy(context, "/", "/src", name="[build 2/3] COPY . .")
    if extra:
        state = state.run(llb.sh("apk add git"), name="[build 3/4] RUN apk add git").root
    state = state.run(llb.sh(make), name=f"[build 3/3] RUN {make}").root
    return (
        llb.scratch()
        .copy(state, "/out", "/", name="[stage-1 1/1] COPY --from=build /out /")
        .graph(platform=PLATFORM)
    )


def _said(found: Comparison) -> list[str]:
    return found.text().splitlines()


def test_equal_graphs_are_equal() -> None:
    found = compare(_program(_base()), decode(encode(_program(_base()))))
    assert not found
    assert _said(found) == ["5 same"]
    assert found.as_json()["equal"] is True


def test_another_session_is_no_change() -> None:
    assert not compare(_program(_base()), _program(_base(), session="two"))


def test_a_changed_command_is_one_change_and_what_reads_it_is_affected() -> None:
    assert _said(compare(_program(_base()), _program(_base(), make="make"))) == [
        "~ [build] RUN make",
        "    args: `make all` → `make`",
        "= [stage-1] COPY --from=build /out /",
        "    unchanged itself, but its input 0 changed ([build] RUN make: args: `make all` → `make`)",
        "1 changed, 1 affected, 3 same",
    ]


def test_a_changed_base_affects_everything_on_it() -> None:
    found = compare(_program(_base()), _program(_base("3.20")))
    assert _said(found)[:4] == [
        "~ [build] FROM alpine:3.20",
        "    tag: `3.19` → `3.20`",
        "= [build] COPY . .",
        "    unchanged itself, but its input 0 changed ([build] FROM alpine:3.20: tag: `3.19` → `3.20`)",
    ]
    assert found.counts() == {"changed": 1, "affected": 3, "added": 0, "removed": 0, "same": 1}


def test_another_base_altogether_is_the_base_changed() -> None:
    other = llb.image("debian:13", name="[build 1/3] FROM debian:13")
    found = compare(_program(_base()), _program(other))
    assert [one.kind for one in found.changes] == ["changed", "affected", "affected", "affected"]
    assert {field.field for field in found.changes[0].fields} == {"image", "tag"}


def test_an_added_step_is_added_and_its_user_has_another_input() -> None:
    one, two = _program(_base()), _program(_base(), extra=True)
    found = compare(one, two)
    assert [(change.kind, change.label) for change in found.changes] == [
        ("added", "[build] RUN apk add git"),
        ("changed", "[build] RUN make all"),
        ("affected", "[stage-1] COPY --from=build /out /"),
    ]
    assert str(found.changes[1].fields[0]) == "input 0: `[build] COPY . .` → `[build] RUN apk add git`"
    back = compare(two, one)
    assert [change.kind for change in back.changes] == ["changed", "affected", "removed"]


def test_every_field_has_a_name() -> None:
    base = llb.image("alpine:3.19")
    one = base.run(["a"], env={"A": "1", "B": "1"}, mounts=[llb.cache("/c", id="x")]).root
    two = (
        base.dir("/w")
        .run(["a"], env={"A": "2"}, user="me", mounts=[llb.cache("/c", id="y"), llb.tmpfs("/t")])
        .root
    )
    (change,) = compare(one.graph(platform=PLATFORM), two.graph(platform=PLATFORM)).changes
    assert [str(field) for field in change.fields] == [
        "env A: `1` → `2`",
        "env B: removed `1`",
        "mount /c: `cache id=x output=-1` → `cache id=y output=-1`",
        "cwd: added `/w`",
        "user: added `me`",
        "mount /t: added `tmpfs output=-1`",
    ]


def test_an_added_mount_does_not_change_the_others() -> None:
    base, tools, data = llb.image("alpine:3.19"), llb.image("tools:1"), llb.image("data:1")
    one = base.run(["a"], mounts=[llb.bind(tools, "/tools")]).root
    two = base.run(["a"], mounts=[llb.bind(data, "/data"), llb.bind(tools, "/tools")]).root
    found = compare(one.graph(platform=PLATFORM), two.graph(platform=PLATFORM))
    assert [(change.kind, list(map(str, change.fields))) for change in found.changes] == [
        ("added", []),
        ("changed", ["mount /data: added `bind data:1 output=-1 readonly`"]),
    ]


def test_a_file_read_from_elsewhere_is_told_by_its_role() -> None:
    one = llb.scratch().copy(llb.image("a:1"), "/x", "/x").graph(platform=PLATFORM)
    two = llb.scratch().copy(llb.image("b:1"), "/x", "/y").graph(platform=PLATFORM)
    changes = [change for change in compare(one, two).changes if change.kind == "changed"]
    assert [str(field) for field in changes[-1].fields] == ["dest: `/x` → `/y`"]


def test_changed_contents_show_where() -> None:
    text = "".join(f"line {number}\n" for number in range(100))
    one = llb.scratch().mkfile("/f", text).mkfile("/same", "x").graph(platform=PLATFORM)
    two = (
        llb.scratch()
        .mkfile("/f", text.replace("line 50", "LINE 50"))
        .mkfile("/same", "x")
        .graph(platform=PLATFORM)
    )
    change = compare(one, two).changes[0]
    assert [field.field for field in change.fields] == ["data"]
    assert "⏎LINE 50⏎" in str(change.fields[0])
    assert len(str(change.fields[0])) < 400


def test_what_may_change_a_build_beside_the_op_is_told() -> None:
    one = llb.image("alpine:3.19").graph(platform=PLATFORM)
    two = llb.image("alpine:3.19").graph(platform=PLATFORM, ignore_cache=True)
    (change,) = compare(one, two).changes
    assert [str(field) for field in change.fields] == ["ignore-cache: added `yes`"]


def test_another_result_is_told() -> None:
    graph = _program(_base())
    other = Graph(vertices=graph.vertices, head=None, metadata=graph.metadata)
    found = compare(graph, other)
    assert found
    assert str(found.head[0]) == "head: `[stage-1] COPY --from=build /out /` → `scratch`"
    assert not found.changes


def test_equal_steps_of_two_stages_are_not_mixed_up() -> None:
    def graph(*commands: str) -> Graph:
        ends = []
        for number, command in enumerate(commands):
            stage = f"s{number}"
            base = llb.image(f"alpine:{number}", name=f"[{stage} 1/3] FROM alpine:{number}")
            step = base.run(["setup"], name=f"[{stage} 2/3] RUN setup").root
            ends.append(step.run([command], name=f"[{stage} 3/3] RUN {command}").root)
        return llb.merge(ends).graph(platform=PLATFORM)

    found = compare(graph("a", "b", "c"), graph("a", "x", "c"))
    assert [(one.kind, one.label) for one in found.changes if one.kind == "changed"] == [
        ("changed", "[s1] RUN x")
    ]
    assert found.counts()["same"] == 8


def test_wire_bytes_that_no_field_tells_apart_are_told() -> None:
    from llbkit.llb.ir.graph import Edge, Vertex
    from llbkit.llb.wire.decoding import decode_vertex

    base = Vertex.make(ops.Source(identifier="local://x"))
    odd = decode_vertex(base.raw + b"\xfa\x3e\x01x", ())
    found = compare(Graph(vertices=(base,), head=Edge(base)), Graph(vertices=(odd,), head=Edge(odd)))
    assert found
    assert [one.kind for one in found.changes] == ["changed"]


def test_steps_of_the_same_name_are_told_apart_where_one_takes_the_place_of_another() -> None:
    once = _base().run("finish", name="RUN finish").root
    twice = once.run("finish", name="RUN finish").root
    found = compare(once.graph(platform=PLATFORM), twice.graph(platform=PLATFORM))
    assert [str(field) for field in found.head] == ["head: `RUN finish (1 of 1)` → `RUN finish (2 of 2)`"]
    found = compare(
        once.run("last", name="last").root.graph(platform=PLATFORM),
        twice.run("last", name="last").root.graph(platform=PLATFORM),
    )
    (last,) = (change for change in found.changes if change.kind == "changed")
    assert [str(field) for field in last.fields] == ["input 0: `RUN finish (1 of 1)` → `RUN finish (2 of 2)`"]


def test_names_cannot_steer_the_terminal() -> None:
    one, two = (
        _base().run(word, name=f"RUN \x1b[31m{word}").root.graph(platform=PLATFORM) for word in ("a", "b")
    )
    assert "~ RUN \N{REPLACEMENT CHARACTER}[31mb\n" in compare(one, two).text()
