# SPDX-License-Identifier: Apache-2.0
"""``llbkit llb`` and the files it reads, through the command line."""

from __future__ import annotations

import io
import json
import sys

import pytest

from llbkit import llb
from llbkit.cli.main import run
from llbkit.engine import graphs
from llbkit.llb.wire import encode
from llbkit.progress.rawjson import RawJSONDisplay
from llbkit.progress.recorded import outcomes
from llbkit.request.csvflags import FlagError
from llbkit.solver.events import VertexAdded, VertexCompleted, VertexStarted


def _graph(command: str = "make") -> llb.Graph:
    base = llb.image("alpine:3.20", name="[1/2] FROM alpine")
    return base.run(llb.sh(command), name=f"[2/2] RUN {command}").root.graph(platform="linux/amd64")


@pytest.fixture
def files(tmp_path):
    """Return a file of each form, of the same graph."""
    made = {}
    for form, write in graphs.WRITERS.items():
        made[form] = tmp_path / f"graph.{form}"
        made[form].write_bytes(write(_graph()))
    return made


@pytest.mark.parametrize("form", ["text", "json", "pb"])
def test_every_form_is_told_by_its_content_and_gives_the_same_graph(files, form: str) -> None:
    read = graphs.load(str(files[form]), stdin=io.BytesIO())
    assert read.form == form
    assert read.graph.vertices == _graph().vertices
    assert read.problems() == []


@pytest.mark.parametrize("form", ["text", "json", "pb"])
@pytest.mark.parametrize("to", ["text", "json", "pb"])
def test_dump_goes_from_every_form_to_every_other(files, tmp_path, form: str, to: str) -> None:
    assert run(["llb", "dump", str(files[form]), "--format", to, "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out").read_bytes() == files[to].read_bytes()


def test_dump_reads_standard_input(monkeypatch, capfdbinary) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(encode(_graph()))))
    assert run(["llb", "dump"]) == 0
    sys.stdout.flush()
    assert capfdbinary.readouterr().out.startswith(b"%alpine = source docker-image://")


def test_diff_exits_as_diff_does(files, tmp_path, capsys) -> None:
    other = tmp_path / "other.pb"
    other.write_bytes(encode(_graph("make all")))
    assert run(["llb", "diff", str(files["text"]), str(files["pb"])]) == 0
    assert capsys.readouterr().out == "2 same\n"
    assert run(["llb", "diff", str(files["text"]), str(other)]) == 1
    assert "args: `make` → `make all`" in capsys.readouterr().out
    assert run(["llb", "diff", "--json", str(files["text"]), str(other)]) == 1
    (change,) = json.loads(capsys.readouterr().out)["changes"]
    assert change["fields"] == [{"field": "args", "before": "make", "after": "make all"}]
    assert run(["llb", "diff", "-", "-"]) == 2
    assert run(["llb", "diff", str(files["text"]), str(tmp_path / "missing")]) == 2


@pytest.mark.parametrize("data", [encode(_graph())[:40], b'{"def": []}', b"%a = nothing\n"])
def test_a_file_that_cannot_be_read_is_named_and_is_no_difference(
    files, tmp_path, capsys, data: bytes
) -> None:
    (tmp_path / "broken").write_bytes(data)
    assert run(["llb", "diff", str(files["pb"]), str(tmp_path / "broken")]) == 2
    assert run(["llb", "verify", str(tmp_path / "broken")]) == 1
    both = capsys.readouterr().err
    assert both.count(str(tmp_path / "broken")) == 2
    assert "llb verify" not in both


def test_verify_prints_every_problem_with_its_line(tmp_path, capsys) -> None:
    path = tmp_path / "bad.llb"
    path.write_text("%a = source nowhere\n%b = exec\n  mount /x from %a\nhead %b\n")
    assert run(["llb", "verify", str(path)]) == 1
    said = capsys.readouterr().err
    for part in (
        "source.identifier: missing scheme",
        "exec.meta.args: must not be empty",
        'no mount with dest "/"',
    ):
        assert part in said
    assert f"{path}:2:1" in said
    assert "^^^^^" in said


def test_verify_of_a_definition_names_op_and_field(tmp_path, capsys) -> None:
    from llbkit.llb.text import study

    bad = study("%a = source nowhere\nhead %a\n").graph
    (tmp_path / "bad.pb").write_bytes(encode(bad))
    assert run(["llb", "verify", str(tmp_path / "bad.pb")]) == 1
    assert f"op {bad.vertices[0].digest}: source.identifier: missing scheme" in capsys.readouterr().err
    (tmp_path / "good.pb").write_bytes(encode(_graph()))
    assert run(["llb", "verify", str(tmp_path / "good.pb")]) == 0
    assert "2 vertices, no problems" in capsys.readouterr().out


def test_stats_are_printed_as_text_and_json(files, capsys) -> None:
    assert run(["llb", "stats", str(files["pb"])]) == 0
    assert "depth          2 vertices" in capsys.readouterr().out
    assert run(["llb", "stats", "--json", str(files["pb"])]) == 0
    assert json.loads(capsys.readouterr().out)["kinds"] == {"source": 1, "exec": 1}


@pytest.mark.parametrize(
    ("name", "begin"), [("x.svg", "<svg"), ("x.mmd", "flowchart"), ("x.dot", "digraph"), ("x", "<svg")]
)
def test_draw_takes_its_format_from_the_name(files, tmp_path, name: str, begin: str) -> None:
    assert run(["llb", "draw", str(files["pb"]), "-o", str(tmp_path / name)]) == 0
    assert (tmp_path / name).read_text().startswith(begin)


def test_draw_shows_what_recorded_events_say(files, tmp_path) -> None:
    graph = _graph()
    stream = io.StringIO()
    display = RawJSONDisplay(stream)
    base, make = (vertex.digest for vertex in graph)
    display(VertexAdded(digest=base, name="[1/2] FROM alpine", inputs=()))
    display(VertexAdded(digest=make, name="[2/2] RUN make", inputs=(base,)))
    for start, end, digest, cached in (
        (1.0, 1.5, base, True),
        (2.0, 2.25, make, False),
        (3.0, 5.0, make, False),
    ):
        display(VertexStarted(digest=digest, time=start))
        display(VertexCompleted(digest=digest, time=end, cached=cached))
    events = tmp_path / "events"
    events.write_text("a message\n" + stream.getvalue())
    told = outcomes(events.read_text().splitlines(), "events")
    assert [(one.digest, one.result, one.seconds) for one in told] == [
        (base, "cached", 0.5),
        (make, "ran", 2.25),
    ]
    out = tmp_path / "x.svg"
    assert run(["llb", "draw", str(files["pb"]), "--events", str(events), "-o", str(out)]) == 0
    assert ">cached</text>" in out.read_text()
    assert ">2.2s</text>" in out.read_text()
    events.write_text("nothing\n")
    assert run(["llb", "draw", str(files["pb"]), "--events", str(events)]) == 2


def test_failed_and_unfinished_vertices_are_told_apart() -> None:
    lines = [
        json.dumps({"vertexes": [{"digest": "a", "name": "A", "started": "2026-01-01T00:00:00.5Z"}]}),
        json.dumps(
            {
                "vertexes": [
                    {
                        "digest": "b",
                        "name": "B",
                        "started": "2026-01-01T00:00:00.123456789Z",
                        "completed": "2026-01-01T00:00:01.123456789Z",
                        "error": "exit code: 1",
                    },
                    {"digest": "c", "name": "never started"},
                ]
            }
        ),
    ]
    assert [(one.name, one.result, one.seconds) for one in outcomes(lines, "x")] == [
        ("A", "canceled", 0.0),
        ("B", "failed", 1.0),
    ]


@pytest.mark.parametrize("data", [b"", b" \n", b"FROM alpine\n", b"[1, 2]", "ünd".encode()])
def test_what_is_no_graph_is_refused(data: bytes) -> None:
    with pytest.raises(FlagError):
        graphs.parse("x", data)


def test_a_definition_that_holds_a_text_is_no_text() -> None:
    from llbkit.llb.ir.graph import Edge, Graph, Vertex
    from llbkit.llb.ir.ops import File, FileAction, MkFile

    step = FileAction(
        action=MkFile(path="/x", data=b"\n%a = source local://x\nhead %a\n"), input=-1, secondary_input=-1
    )
    top = Vertex.make(File(actions=(step,)), constraints=None)
    assert graphs.form_of(encode(Graph(vertices=(top,), head=Edge(top)))) == "pb"
    assert graphs.form_of(b"# \x1b[1m\n\nhead scratch\n") == "text"


def test_a_directory_and_a_missing_file_are_refused(tmp_path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FlagError):
            graphs.load(str(path), stdin=io.BytesIO())


def test_a_text_becomes_the_source_of_its_vertices_only_where_they_have_none() -> None:
    said = (
        "%a = source local://x\n%b = file\n  mkdir /y on %a\n  at @D 1\nhead %b\n@D = text D\n  | mkdir y\n"
    )
    read = graphs.parse("x.llb", said.encode())
    graph = read.located()
    spans = [graph.spans_of(vertex.digest)[0] for vertex in graph]
    assert [(span.source.name, span.text) for span in spans] == [
        ("x.llb", "%a = source local://x"),
        ("D", "mkdir y"),
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["llb"],
        *(["llb", name] for name in ("dump", "diff", "verify", "stats", "draw")),
        ["llb", "run"],
        ["run"],
    ],
)
def test_help_fits_a_screen(words: list[str], capsys) -> None:
    run([*words, "--help"])
    said = capsys.readouterr().out
    assert said.startswith("Usage: llbkit")
    assert len(said.splitlines()) <= 40
    assert max(map(len, said.splitlines())) <= 110


def test_the_public_names_are_what_they_say() -> None:
    import llbkit
    from llbkit import errors

    for module in (llbkit, errors):
        assert sorted(module.__all__) == module.__all__
        for name in module.__all__:
            assert getattr(module, name) is not None
        with pytest.raises(AttributeError):
            _ = module.nothing
