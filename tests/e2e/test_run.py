# SPDX-License-Identifier: Apache-2.0
"""Graphs from files and from Python, executed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest

from llbkit import Engine, Output, llb
from llbkit.errors import SourceError, VertexError
from llbkit.grammar import Source
from llbkit.llb import text
from llbkit.solver.events import VertexCompleted

pytestmark = pytest.mark.root

REPOSITORY = Path(__file__).parents[2]

PROGRAM = "FROM base\nCOPY word /word\nRUN tr a-z A-Z < /word > /loud\nFROM scratch\nCOPY --from=1 /loud /\n"


@pytest.mark.parametrize("form", ["pb", "json", "text"])
def test_what_compile_writes_run_executes(cli, project, tmp_path, form: str) -> None:
    folder = project(PROGRAM, {"word": "hello\n"})
    compiled = subprocess.run(
        cli.argv("compile", "--format", form, folder), env=cli.env(), capture_output=True, check=True
    )
    out = f"type=local,dest={tmp_path}/out"
    cli.run("llb", "run", "-", "--local", f"context={folder}", "-o", out, stdin=compiled.stdout)
    assert (tmp_path / "out" / "loud").read_text() == "HELLO\n"


def test_a_text_written_by_hand_is_run_and_a_failing_step_shows_its_line(cli, project, tmp_path) -> None:
    folder = project("", base=False)
    said = (
        "%context = source local://context\n"
        "%copy-busybox = file\n  copy from %context /busybox to /bin/busybox create_dest_path\n"
        "%run = exec /bin/busybox sh -c {command}\n  mount / from %copy-busybox -> 0\n"
        "  mount /run/key secret id=key\nhead %run\n"
    )
    graph = tmp_path / "graph.llb"
    (tmp_path / "key").write_text("hidden")
    graph.write_text(said.format(command='"cat /run/key > /seen"'))
    given = ("--local", f"context={folder}", "--secret", f"id=key,src={tmp_path}/key")
    meta = tmp_path / "meta.json"
    cli.run(
        "llb",
        "run",
        graph,
        *given,
        "-o",
        f"type=oci,dest={tmp_path}/x.tar",
        "-t",
        "x:1",
        "--metadata-file",
        meta,
    )
    assert json.loads(meta.read_text())["image.name"] == "docker.io/library/x:1"
    assert cli.run("llb", "run", "-q", graph, *given, "-o", "type=image").stdout.startswith("sha256:")
    again = cli.run("llb", "run", "--progress=plain", graph, *given)
    assert "CACHED" in again.stderr
    again = cli.run("llb", "run", "--progress=plain", "--no-cache", graph, *given)
    assert "CACHED" not in again.stderr
    graph.write_text(said.format(command='"exit 7"'))
    failed = cli.run("llb", "run", graph, *given, code=1)
    assert f"{graph}:4:1" in failed.stderr
    assert "exit code: 7" in failed.stderr


def test_rights_are_asked_for(cli, project, tmp_path) -> None:
    folder = project("FROM base\nRUN --network=host true\n")
    cli.run("compile", folder, "-o", tmp_path / "pb", "--format", "pb")
    given = (tmp_path / "pb", "--local", f"context={folder}")
    assert "network.host" in cli.run("llb", "run", *given, code=1).stderr
    cli.run("llb", "run", *given, "--allow", "network.host")


@pytest.mark.parametrize(
    ("stdin", "code", "said"),
    [
        (b"", 2, "standard input is empty"),
        (b"FROM alpine\n", 2, "is not a graph"),
        (b"%a = source local://x\nhead %b\n", 1, "did you mean %a?"),
        (b"%a = source x\nhead %a\n", 1, "missing scheme"),
        (b"%a = source local://x\nhead %a\n", 2, "--local x=DIR"),
        (b'{"Op": 3}\n', 1, "line 1: Op is not a JSON object"),
        (b"\x0a\x03abc", 1, "op 0 of the definition"),
    ],
)
def test_what_is_no_graph_is_refused(cli, stdin: bytes, code: int, said: str) -> None:
    assert said in cli.run("llb", "run", "-", stdin=stdin, code=code).stderr


def test_python_runs_a_graph(cli, project, tmp_path, monkeypatch) -> None:
    folder = project("", {"word": "hello\n"}, base=False)
    context = llb.local("context")
    base = llb.scratch().copy(context, "/busybox", "/bin/", create_dest_path=True)
    step = base.run(["/bin/busybox", "cp", "/src/word", "/seen"], mounts=[llb.bind(context, "/src")])
    monkeypatch.chdir(tmp_path)
    events = []
    with Engine(root=cli.root) as engine:
        solution = asyncio.run(
            engine.solve(
                step.root.graph(),
                locals={"context": os.path.relpath(folder)},
                outputs=[Output(type="local", dest="out"), "type=tar,dest=out.tar"],
                progress=events.append,
            )
        )
        assert asyncio.run(solution.read_file("/seen")) == b"hello\n"
        assert [entry.path for entry in asyncio.run(solution.read_dir("/", include="se*"))] == ["seen"]
        assert asyncio.run(solution.stat_file("/bin/busybox")).size > 1000
    assert (tmp_path / "out" / "seen").read_text() == "hello\n"
    assert (tmp_path / "out.tar").stat().st_size > 1000
    assert sum(isinstance(event, VertexCompleted) for event in events) >= 5


def test_what_goes_wrong_in_python_is_a_typed_error(cli) -> None:
    step = llb.scratch().copy(llb.local("context"), "/x", "/")
    with Engine(root=cli.root) as engine, pytest.raises(VertexError) as caught:
        asyncio.run(engine.solve(step.graph()))
    assert isinstance(caught.value.cause, SourceError)


def test_the_example_of_the_engine_runs(tmp_path, cli, monkeypatch) -> None:
    (tmp_path / "greeting").write_text("hi\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLBKIT_ROOT", str(cli.root))
    _, _, rest = (Engine.__doc__ or "").partition("A graph, run:\n\n")
    code = "\n".join(
        line.removeprefix("        ") for line in rest.partition("\n\n    and a")[0].splitlines()
    )
    exec(compile(code, "Engine.__doc__", "exec"), {})
    assert (tmp_path / "out.tar").exists()


def test_the_text_of_the_document_is_a_graph() -> None:
    page = (REPOSITORY / "docs" / "llb.md").read_text()
    graph = text.read(page.partition("## The text form\n\n```llb\n")[2].partition("```")[0])
    assert len(graph) == 3
    assert text.read(text.render(graph)).vertices == graph.vertices


def test_a_picture_of_a_build_shows_what_ran_and_what_was_cached(cli, project, tmp_path) -> None:
    folder = project("FROM base\nCOPY a /a\nRUN cat /a\n", {"a": "1"})
    cli.build(folder)
    (folder / "a").write_text("2")
    done = cli.run("build", "--progress=rawjson", folder)
    (tmp_path / "events").write_text(done.stderr)
    cli.run("compile", folder, "--format", "text", "-o", tmp_path / "graph")
    drawn = cli.run("llb", "draw", tmp_path / "graph", "--events", tmp_path / "events").stdout
    assert "3 ran" in drawn
    assert "2 cached" in drawn
    assert "<title>[stage-1 2/2] RUN cat /a\nDockerfile:" in drawn


def test_scratch_is_run(cli, tmp_path) -> None:
    (tmp_path / "x.llb").write_text("head scratch\n")
    cli.run("llb", "run", tmp_path / "x.llb", "-o", f"type=tar,dest={tmp_path}/x.tar")
    assert text.read(Source("x", "head scratch\n")).head is None
