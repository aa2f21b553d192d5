# SPDX-License-Identifier: Apache-2.0
"""The engine from Python: a context in one line, images with their config, blocking calls."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from llbkit import Engine, Output, llb
from llbkit.engine.running import RunRequest
from llbkit.errors import ExecError, FlagError, VertexError
from llbkit.llb.ir.ops import NetMode
from llbkit.sync import Engine as BlockingEngine
from llbkit.sync import run
from llbkit.worker.runtime.process import Attached

pytestmark = pytest.mark.root

PROGRAM = (
    "FROM base AS app\nENV PATH=/bin FROM_BASE=yes\nWORKDIR /srv\nARG NAME=none\nRUN echo $NAME > name\n"
    'USER 12\nLABEL kept=1\nCMD ["sh", "-c", "cat name"]\n'
)


def config_of(path: Path, read_image) -> dict:
    return read_image(path).config


def test_a_context_is_built_in_one_line(project, tmp_path: Path) -> None:
    folder = project(PROGRAM + "FROM scratch AS none\n")
    with BlockingEngine(root=str(tmp_path / "state")) as engine:
        done = engine.build(folder, tags=["app:1", "app:2"], args={"NAME": "x"}, target="app")
        assert done.names == ("docker.io/library/app:1", "docker.io/library/app:2")
        assert done.digest.startswith("sha256:")
        assert done.size > 100_000
        assert [one.name for one in engine.images.list()] == ["app:1", "app:2"]
        out = tmp_path / "out"
        engine.build(folder, target="app", outputs=[f"type=local,dest={out}"])
        assert (out / "srv" / "name").read_text() == "none\n"


def test_an_image_keeps_its_config_through_new_steps(project, tmp_path: Path, read_image) -> None:
    with BlockingEngine(root=tmp_path / "state") as engine:
        engine.build(project(PROGRAM), tags=["app:1"])
        base = engine.image("app:1")
        assert base.run("env").graph().head.vertex.op.meta.cwd == "/srv"  # type: ignore[union-attr]
        state = base.run(["sh", "-c", "echo $FROM_BASE $PWD > /seen"]).root.env("ADDED", "1")
        solved = engine.solve(
            state, outputs=[f"type=oci,dest={tmp_path}/a.tar"], config={"config": {"Labels": {"new": "2"}}}
        )
        assert solved.read_file("/seen") == b"yes /srv\n"
    image = read_image(tmp_path / "a.tar")
    assert image.config["config"] == {
        "ArgsEscaped": True,
        "Cmd": ["sh", "-c", "cat name"],
        "Env": ["PATH=/bin", "FROM_BASE=yes", "ADDED=1"],
        "Labels": {"new": "2"},
        "User": "12",
        "WorkingDir": "/srv",
    }
    layers = [entry for entry in image.config["history"] if not entry.get("empty_layer")]
    assert len(layers) == len(image.manifest["layers"]) == len(image.config["rootfs"]["diff_ids"])


def test_failures_are_typed_and_carry_output(project, tmp_path: Path) -> None:
    folder = project("FROM base\nRUN echo said; exit 4\n")
    with BlockingEngine(root=tmp_path / "state") as engine:
        with pytest.raises(VertexError) as caught:
            engine.build(folder)
        assert isinstance(caught.value.cause, ExecError)
        assert (caught.value.cause.exit_code, caught.value.cause.output) == (4, b"said\n")
        with pytest.raises(FlagError, match="missing"):
            engine.build(tmp_path / "missing")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tags": "app:1"}, "argument 'tags' must be a sequence of str, not str"),
        ({"tag": ["x"]}, "unexpected keyword argument 'tag'"),
        ({"args": [("A", "1")]}, "argument 'args' must be Mapping, not list"),
        ({"args": {"A": 1}}, "argument 'build-arg:A' must be str, not int"),
        ({"outputs": "type=tar,dest=x"}, "argument 'outputs' must be a sequence"),
        ({"secrets": {"a": 3}}, "'a' must be bytes, a path or ('env', NAME), not int"),
        ({"platforms": "linux/amd64"}, "argument 'platforms' must be a sequence"),
    ],
)  # fmt: skip
def test_wrong_arguments_of_a_build_are_named(project, tmp_path: Path, given, message: str) -> None:
    with BlockingEngine(root=tmp_path / "state") as engine, pytest.raises(TypeError) as caught:
        engine.build(project("FROM scratch\n", base=False), **given)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"names": "app"}, "argument 'names' must be a sequence of str, not str"),
        ({"locals": "dir"}, "argument 'locals' must be Mapping, not str"),
        ({"allow": "network.host"}, "argument 'allow' must be a sequence of str, not str"),
        ({"config": "{}"}, "argument 'config' must be Mapping, bytes or None, not str"),
        ({"platform": 3}, "must be Platform or None, not int"),
    ],
)  # fmt: skip
def test_wrong_arguments_of_a_solve_are_named(tmp_path: Path, given, message: str) -> None:
    with BlockingEngine(root=tmp_path / "state") as engine, pytest.raises(TypeError) as caught:
        engine.solve(llb.scratch().mkfile("/a", "x"), **given)
    assert message in str(caught.value)


def test_secrets_are_given_as_bytes_paths_or_variables(project, tmp_path: Path, monkeypatch) -> None:
    lines = "".join(f"RUN --mount=type=secret,id={name} cat /run/secrets/{name} >> /seen\n" for name in "abc")
    (tmp_path / "b").write_text("two\n")
    monkeypatch.setenv("THIRD", "three\n")
    with BlockingEngine(root=tmp_path / "state") as engine:
        engine.build(
            project("FROM base\nENV PATH=/bin\n" + lines),
            secrets={"a": b"one\n", "b": tmp_path / "b", "c": ("env", "THIRD")},
            outputs=[Output(type="local", dest=str(tmp_path / "out"))],
        )
    assert (tmp_path / "out" / "seen").read_text() == "one\ntwo\nthree\n"


def test_blocking_calls_work_inside_a_running_loop(tmp_path: Path) -> None:
    async def notebook() -> bytes:
        with BlockingEngine(root=tmp_path / "state") as engine:
            return engine.solve(llb.scratch().mkfile("/a", "x")).read_file("/a")

    assert asyncio.run(notebook()) == b"x"
    with Engine(root=tmp_path / "state") as engine:
        assert json.loads(json.dumps(run(engine.solve(llb.scratch().mkfile("/a", "x"))).response)) == {}


def test_a_request_that_is_run_again_finds_the_image_that_was_built_since(project, tmp_path: Path) -> None:
    request = RunRequest(image="app:1", command=("sh", "-c", 'exit "$CODE"'), network=NetMode.NONE)
    with (tmp_path / "out").open("wb") as out, Engine(root=tmp_path / "state") as engine:
        attached = Attached(stdin=None, stdout=out.fileno(), stderr=out.fileno())
        for code in (3, 4):
            folder = project(f"FROM base\nENV PATH=/bin CODE={code}\n")
            run(engine.build(folder, tags=["app:1"]))
            assert run(engine.run(request, attached)) == code
