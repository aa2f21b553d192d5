# SPDX-License-Identifier: Apache-2.0
"""Graphs as text and as DOT: whole outputs, and nothing of an op that goes unsaid."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from llbkit import llb
from llbkit.llb import text
from llbkit.llb.draw import dot
from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Edge, Graph, Vertex
from llbkit.llb.wire import decode, encode

VECTORS = Path(__file__).parents[3] / "conformance" / "vectors"
CASES: list[dict[str, Any]] = [
    case for case in json.loads((VECTORS / "llb.open.json").read_text()) if case.get("definition")
]


def _sample() -> Graph:
    base = llb.image("alpine:3.20", name="[1/2] FROM alpine")
    tools = llb.image("busybox:1.36")
    step = base.dir("/src").run(
        ["/bin/sh", "-c", 'make "all"'],
        mounts=[
            llb.bind(tools, "/tools"),
            llb.cache("/root/.cache", id="c"),
            llb.secret("/run/s", id="s"),
        ],
        name="[2/2] RUN make",
    )
    return step.root.graph(platform="linux/amd64")


def test_a_graph_is_written_as_text() -> None:
    assert (
        text.render(_sample())
        == """\
%alpine = source docker-image://docker.io/library/alpine:3.20
  name "[1/2] FROM alpine"
  platform linux/amd64
  caps source.image

%busybox = source docker-image://docker.io/library/busybox:1.36
  platform linux/amd64
  caps source.image

%run-make-all = exec /bin/sh -c "make \\"all\\""
  name "[2/2] RUN make"
  platform linux/amd64
  cwd /src
  mount / from %alpine -> 0
  mount /root/.cache cache id=c
  mount /tools from %busybox readonly
  mount /run/s secret id=s
  caps exec.meta.base exec.mount.bind exec.mount.cache exec.mount.cache.sharing exec.mount.secret

head %run-make-all
  caps constraints meta.description platform

located
"""
    )


def test_a_graph_is_written_as_dot() -> None:
    drawn = re.sub(r"sha256:[0-9a-f]{64}", "DIGEST", dot.render(_sample()))
    assert (
        drawn
        == """\
digraph llb {
  rankdir=LR;
  node [fontname="sans-serif"];
  n0 [label="FROM alpine" shape=ellipse tooltip="[1/2] FROM alpine\\nDIGEST"];
  n1 [label="busybox:1.36" shape=ellipse tooltip="docker-image://docker.io/library/busybox:1.36\\nDIGEST"];
  n2 [label="RUN make" shape=box tooltip="[2/2] RUN make\\nDIGEST"];
  n0 -> n2;
  n1 -> n2;
  head [label="" shape=doublecircle width=0.2];
  n2 -> head;
}
"""
    )


def test_files_are_written_with_their_owner_and_what_is_not_usual() -> None:
    user = ops.NamedUser(name="web")
    steps = (
        ops.FileAction(
            action=ops.Copy(
                src="/a b",
                dest="/c/",
                owner=ops.Chown(user=user, group=0),
                mode=-1,
                timestamp=-1,
                allow_wildcard=True,
                exclude_patterns=("*.o",),
            ),
            secondary_input=1,
            output=-1,
        ),
        ops.FileAction(
            action=ops.MkFile(path="/f", mode=0o644, data=b"hi\n", timestamp=0), input=2, secondary_input=-1
        ),
    )
    base, other = (Vertex.make(ops.Source(identifier=f"local://{name}")) for name in "ab")
    top = Vertex.make(ops.File(actions=steps), (Edge(base), Edge(other, 1)), constraints=("big",))
    said = text.render(Graph(vertices=(base, other, top), head=Edge(top)))
    assert said.split("\n\n")[2].splitlines() == [
        "%copy-a-b = file",
        "  require big",
        '  copy from %local-b.1 "/a b" to /c/ on %local-a allow_wildcard exclude_patterns="*.o" user "web" in %local-a group 0',
        '  mkfile /f timestamp=0 text="hi\\n"',
    ]


def test_scratch_is_written() -> None:
    nothing = Graph(vertices=(), head=None)
    assert text.render(nothing) == "head scratch\n"
    assert dot.render(nothing).startswith("digraph llb {")


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
def test_every_vertex_and_edge_of_a_recorded_graph_is_written(case: dict[str, Any]) -> None:
    graph = decode(base64.b64decode(case["definition"]))
    said = text.render(graph)
    names = re.findall(r"^%(\S+) = ", said, re.MULTILINE)
    assert len(set(names)) == len(names) == len(graph)
    assert encode(text.read(said)) == encode(decode(encode(graph)))
    drawn = dot.render(graph)
    assert (
        len(re.findall(r"^  n\d+ -> ", drawn, re.MULTILINE))
        == sum(len(set(vertex.inputs)) for vertex in graph) + 1
    )
    assert all(vertex.digest in drawn for vertex in graph)


def test_lines_of_names_cannot_break_the_output() -> None:
    top = Vertex.make(ops.Source(identifier='local://a"b\\c\nd'))
    graph = Graph(vertices=(top,), head=Edge(top))
    (line,) = (line for line in dot.render(graph).splitlines() if 'label="local' in line)
    assert r'label="local://a\"b\\c d"' in line
    assert text.render(graph).splitlines()[1:] == ["", "head %local-a-b-c-d"]


def test_letters_of_every_language_stay_letters_in_words_of_several_lines() -> None:
    step = llb.image("alpine").run(["echo", "grüße\n漢字\x1b\u202e\U000e0001"])
    graph = step.root.graph(platform="linux/amd64")
    said = text.render(graph)
    assert r'"grüße\n漢字\u001b\u202e\udb40\udc01"' in said
    assert text.read(said).vertices == graph.vertices
