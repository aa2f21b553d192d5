# SPDX-License-Identifier: Apache-2.0
"""A language of somebody else's package, found by its entry point, through the command line: `languages.toy`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
PROGRAM = """\
target base from scratch
  copy busybox to /bin/busybox
  copy busybox to /bin/sh
target app from base
  arg GREETING = hello
  copy . to /src
  run /bin/busybox echo $GREETING > /said
"""


@pytest.fixture
def toy(cli, project, tmp_path):
    """Install the toy language for the command line, and return a function that makes a context with a program in it."""
    installed = tmp_path / "installed" / "toy-1.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1\n")
    (installed / "entry_points.txt").write_text("[llbkit.frontends]\ntoy = toy:Toy\n")
    folders = (ROOT, ROOT / "tests" / "languages", installed.parent)
    cli.environment["PYTHONPATH"] = os.pathsep.join(map(str, folders))

    def make(program: str = PROGRAM, files: dict[str, str] | None = None) -> Path:
        return project("", {"build.toy": program, **(files or {})}, base=False)

    return make


def test_a_program_is_built_with_its_arguments_and_without_what_is_ignored(cli, toy, tmp_path) -> None:
    context = toy(files={".dockerignore": "secret\n", "secret": "s", "kept": "k"})
    out = tmp_path / "out"
    done = cli.build(context, "--frontend=toy", "--build-arg=GREETING=ahoy", f"--output={out}")
    assert (out / "said").read_text() == "ahoy\n"
    assert (out / "src" / "kept").read_text() == "k"
    assert not (out / "src" / "secret").exists()
    assert "[app] RUN /bin/sh -c /bin/busybox echo $GREETING > /said" in done.stderr + done.stdout
    again = cli.build(context, "--frontend=toy", "--build-arg=GREETING=ahoy", f"--output={out}")
    assert "CACHED" in again.stderr + again.stdout


def test_its_own_ignore_file_comes_first(cli, toy, tmp_path) -> None:
    context = toy(
        files={".dockerignore": "kept\n", "build.toy.dockerignore": "secret\n", "secret": "s", "kept": "k"}
    )
    out = tmp_path / "out"
    cli.build(context, "--frontend=toy", f"--output={out}")
    assert (out / "src" / "kept").exists()
    assert not (out / "src" / "secret").exists()


def test_a_first_line_and_a_file_flag_choose_it_too(cli, toy, tmp_path) -> None:
    context = toy(f"# syntax=toy\n{PROGRAM}")
    out = tmp_path / "out"
    cli.build(context, "-f", context / "build.toy", "--target=base", f"--output={out}")
    assert sorted(path.name for path in (out / "bin").iterdir()) == ["busybox", "sh"]


def test_named_contexts_are_sources_and_bases(cli, toy, tmp_path) -> None:
    context = toy("target app from base\n  copy f to /f from other\n")
    for name in ("base", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(name)
        (tmp_path / name / f"only-{name}").write_text(name)
    out = tmp_path / "out"
    contexts = [f"--build-context={name}={tmp_path / name}" for name in ("base", "other")]
    cli.build(context, "--frontend=toy", *contexts, f"--output={out}")
    assert {path.name: path.read_text() for path in out.iterdir()} == {"f": "other", "only-base": "base"}


def test_several_platforms_make_an_index(cli, toy, tmp_path) -> None:
    context = toy("target app from scratch\n  copy f to /f\n", {"f": "f"})
    out = tmp_path / "out"
    cli.build(
        context,
        "--frontend=toy",
        "--platform=linux/amd64,linux/arm64",
        f"--output=type=oci,tar=false,dest={out}",
    )
    (index,) = json.loads((out / "index.json").read_text())["manifests"]
    found = json.loads((out / "blobs" / index["digest"].replace(":", "/")).read_text())["manifests"]
    assert [one["platform"]["architecture"] for one in found] == ["amd64", "arm64"]


def test_errors_have_carets_in_its_files(cli, toy) -> None:
    wrong = cli.build(toy("target app from scratch\n  cpoy f to /f\n"), "--frontend=toy", code=1)
    assert "unexpected 'cpoy' (did you mean copy?)" in wrong.stderr
    assert "--> build.toy:2:3" in wrong.stderr
    assert "^^^^" in wrong.stderr
    failing = cli.build(toy(PROGRAM.replace("echo", "false")), "--frontend=toy", code=1)
    assert "--> build.toy:7:3" in failing.stderr


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("outline", "BUILD ARG"),
        ("targets", "app (default)"),
        ("subrequests.describe", "List all targets current build supports"),
        ("check", "Check complete, no warnings found."),
    ],
)
def test_calls_answer(cli, toy, call: str, said: str) -> None:
    assert said in cli.build(toy(), "--frontend=toy", f"--call={call}").stdout


def test_findings_name_its_file(cli, toy) -> None:
    context = toy(PROGRAM.replace("app", "App"))
    found = cli.build(context, "--frontend=toy", "--call=check", code=1).stdout
    assert "WARNING: TargetCasing\nTarget 'App' should be lowercase\n" in found
    assert f"{os.path.relpath(context / 'build.toy')}:4" in found


def test_a_graph_can_be_compiled(cli, toy) -> None:
    done = cli.run("compile", "--frontend=toy", "--format=text", toy())
    assert "[app] COPY . /src" in done.stdout
