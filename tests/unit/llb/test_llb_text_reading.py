# SPDX-License-Identifier: Apache-2.0
"""Texts written by hand: what they mean, and where their mistakes are."""

from __future__ import annotations

import difflib

import pytest

from llbkit import llb
from llbkit.grammar import DiagnosticError, Source
from llbkit.llb import text
from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Edge, Graph, Vertex
from llbkit.llb.ir.sourcemap import Location, SourceInfo, SourceMap

SMALL = """\
# A comment, and a vertex with another one behind it.
%base = source docker-image://docker.io/library/alpine:3.20  # pinned later
  platform linux/amd64

%make = exec /bin/sh -c "make all"
  # where it runs
  cwd /src
  env MODE=fast
  mount / from %base -> 0
  mount /run/key secret id=key optional

%files = file
  mkdir /out
  copy from %make /src/out to /out/ create_dest_path user "web" in %make
  mkfile /out/notes mode=0o600
    | first
    |
    ~ last
  rm /out/tmp allow_not_found

head %files
"""


def test_a_text_is_read() -> None:
    graph = text.read(SMALL)
    base, make, files = graph.vertices
    assert isinstance(make.op, ops.Exec)
    assert make.op.meta.args == ("/bin/sh", "-c", "make all")
    assert make.op.meta.env == ("MODE=fast",)
    assert make.inputs == (Edge(base),)
    assert make.op.mounts[1].secret == ops.SecretOpt(id="key", mode=0o400, optional=True)
    assert isinstance(files.op, ops.File)
    mkdir, copy, mkfile, rm = files.op.actions
    assert (mkdir.input, mkdir.output) == (-1, -1)
    assert (copy.input, copy.secondary_input) == (1, 0)
    assert isinstance(copy.action, ops.Copy)
    assert copy.action.owner == ops.Chown(user=ops.NamedUser(name="web"))
    assert isinstance(mkfile.action, ops.MkFile)
    assert (mkfile.action.data, mkfile.action.mode) == (b"first\n\nlast", 0o600)
    assert (rm.input, rm.output) == (3, 0)
    assert graph.head == Edge(files)


def test_line_ends_and_a_missing_last_one_do_not_matter() -> None:
    assert text.read(SMALL.replace("\n", "\r\n")).vertices == text.read(SMALL).vertices
    assert text.read(SMALL.rstrip("\n")).vertices == text.read(SMALL).vertices


def test_inserting_a_step_changes_no_other_name() -> None:
    def said(*commands: str) -> list[str]:
        state = llb.image("alpine:3.20")
        for command in commands:
            state = state.run(llb.sh(command)).root
        return text.render(state.graph(platform="linux/amd64")).splitlines()

    one, two = said("make", "make install"), said("make", "strip x", "make install")
    removed = [line for line in difflib.ndiff(one, two) if line.startswith("- ")]
    assert removed == ["-   mount / from %run-make -> 0"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"short\n",
        b"a\nb\n",
        b"no end",
        b"\n",
        b"\n\n",
        b"a\r\nb",
        b"\x00\xff" * 300,
        "ä\tö\n".encode() * 30,
        b"x" * 5000,
    ],
)
def test_contents_of_files_are_read_back_to_the_byte(data: bytes) -> None:
    graph = llb.scratch().mkfile("/f", data).graph(platform="linux/amd64")
    assert text.read(text.render(graph)).vertices == graph.vertices


def test_readable_contents_stand_in_lines_and_binary_ones_in_base64() -> None:
    readable = text.render(llb.scratch().mkfile("/f", "#!/bin/sh\n\techo hi\n").graph(platform="linux/amd64"))
    assert "  mkfile /f\n    | #!/bin/sh\n    | \techo hi\n" in readable
    binary = text.render(llb.scratch().mkfile("/f", bytes(range(256))).graph(platform="linux/amd64"))
    assert binary.count("    base64 ") == 4


@pytest.mark.parametrize(
    ("old", "new", "code", "pointed", "help_"),
    [
        ("cwd /src", "cdw /src", "llb-word", "cdw", "did you mean cwd?"),
        ("from %base", "from %bse", "llb-name", "%bse", "did you mean %base?"),
        ("optional", "optionl", "llb-option", "optionl", "did you mean optional?"),
        ("mode=0o600", "mode=rw", "llb-value", "rw", ""),
        ("%files = file", "%make = file", "llb-name", "%make", ""),
        ("head %files", "hed %files", "llb-word", "hed", "did you mean head?"),
        ("/src/out to", "/src/out into", "llb-syntax", "into", "expected 'to'"),
        ("linux/amd64", "linux", "llb-value", "linux", "write os/architecture[/variant]"),
        ("-> 0", "-> 0 0", "llb-syntax", "0", "expected end of line"),
        ("mode=0o600", "mode=99999999999", "llb-value", "%files", ""),
        ("mode=0o600", 'mode=1 text="\\ud800"', "llb-value", '"\\ud800"', ""),
        ('user "web" in %make', "beside %make", "llb-option", "%make", ""),
    ],
)
def test_mistakes_are_pointed_at(old: str, new: str, code: str, pointed: str, help_: str) -> None:
    source = Source("small.llb", SMALL.replace(old, new, 1))
    with pytest.raises(DiagnosticError) as caught:
        text.read(source)
    found = caught.value.diagnostics[0]
    assert found.span is not None
    assert (found.code, found.span.text, found.help) == (code, pointed, help_ or found.help)
    assert "^" in found.render()


def test_mistakes_of_all_statements_come_together_and_their_users_are_not_blamed() -> None:
    broken = (
        SMALL.replace("cwd", "cdw").replace("copy from", "copy form").replace("head %files", "head %file.0")
    )
    with pytest.raises(DiagnosticError) as caught:
        text.read(broken)
    assert [one.span.start_line for one in caught.value.diagnostics if one.span] == [7, 14, 21]


def test_a_broken_rule_is_reported_at_its_vertex() -> None:
    with pytest.raises(DiagnosticError) as caught:
        text.read(SMALL.replace("mount / from", "mount /x from"))
    (found,) = caught.value.diagnostics
    assert found.code == "llb-rule"
    assert found.span is not None
    assert found.span.text == '%make = exec /bin/sh -c "make all"'


def test_a_text_without_head_is_reported_at_its_end() -> None:
    for said in ("", SMALL.replace("head %files", "")):
        with pytest.raises(DiagnosticError) as caught:
            text.read(said)
        assert [one.code for one in caught.value.diagnostics] == ["llb-head"]


def test_ops_that_words_cannot_say_are_raw_and_bound_to_their_inputs() -> None:
    base = Vertex.make(ops.Source(identifier="local://a"))
    top = Vertex.make(ops.Merge(inputs=(0,)), (Edge(base),))
    odd = Vertex(op=top.op, inputs=top.inputs, digest="", raw=top.raw + b"\xfa\x3e\x01x")
    from llbkit.llb.wire.decoding import decode_vertex

    odd = decode_vertex(odd.raw, odd.inputs)
    said = text.render(Graph(vertices=(base, odd), head=Edge(odd)))
    assert "= raw  # merge" in said
    assert text.read(said).vertices[1].raw == odd.raw
    with pytest.raises(DiagnosticError) as caught:
        text.read(said.replace("local://a", "local://b"))
    assert caught.value.diagnostics[0].code == "llb-raw"


def test_what_no_vertex_has_is_kept() -> None:
    base = Vertex.make(ops.Source(identifier="local://a"))
    info = SourceInfo(source=Source("a b", "x\n", "Odd"), definition=b"", unknown=b"\xfa\x3e\x01x")
    same = SourceInfo(source=Source("a b", ""))
    places = {"sha256:gone": (Location(1, ((1, 2),), ((0, 3),)),), base.digest: ()}
    graph = Graph(
        vertices=(base,),
        head=None,
        source_map=SourceMap(infos=(info, same), locations=places),
        unknown=b"\xfa\x3e\x01y",
    )
    back = text.read(text.render(graph))
    assert back.head is None
    assert dict(back.source_map.locations) == places
    assert back.unknown == graph.unknown
    assert [(i.source.name, i.definition, i.unknown) for i in back.source_map.infos] == [
        ("a b", b"", b"\xfa\x3e\x01x"),
        ("a b", None, b""),
    ]


def test_equal_vertices_under_two_names_are_one() -> None:
    graph = text.read(
        "%a = source local://x\n  caps a\n%b = source local://x\n  caps b\n%m = merge %a %b\nhead %m\n"
    )
    assert len(graph) == 2
    assert graph.metadata_of(graph.vertices[0].digest).caps == ("a", "b")


def test_inputs_may_be_listed() -> None:
    graph = text.read("%a = source local://x\n%m = merge input 1 %a\n  inputs %a %a\nhead %m.2\n")
    assert graph.vertices[1].op == ops.Merge(inputs=(1, 0))
    assert len(graph.vertices[1].inputs) == 2
    assert text.read(text.render(graph)).vertices == graph.vertices
