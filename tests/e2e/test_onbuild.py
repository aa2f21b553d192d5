# SPDX-License-Identifier: Apache-2.0
"""ONBUILD: what a base image leaves for the builds upon it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

TRIGGERS = """
ONBUILD ARG X=1
ONBUILD COPY --from=helper:1 /help /image
ONBUILD COPY --from=tools /tool /stage
ONBUILD RUN --mount=type=bind,from=tools,target=/m --mount=type=cache,target=/c cat /m/tool > /mounted; echo $X > /x
ONBUILD COPY a /a
ONBUILD WORKDIR /work
ONBUILD RUN <<EOT
echo heredoc > here
EOT
"""


def test_triggers_reach_images_stages_mounts_and_the_context(cli, project, tmp_path) -> None:
    cli.build(project("FROM base\nRUN echo image > /help\n", name="helper"), "-t", "helper:1")
    done = cli.build(project("FROM base" + TRIGGERS, name="parent"), "-t", "parent:1")
    assert "heredoc" not in done.stderr
    text = (
        "FROM base AS tools\nRUN echo tool > /tool\nFROM parent:1 AS one\nRUN echo mine >> /x\n"
        "FROM one AS two\nFROM two\n"
    )
    cli.build(project(text, {"a": "context\n"}), "--build-arg", "X=7", "-o", tmp_path / "out")
    found = {
        name: (tmp_path / "out" / name).read_text()
        for name in ("image", "stage", "mounted", "a", "x", "work/here")
    }
    assert found == {
        "image": "image\n", "stage": "tool\n", "mounted": "tool\n", "a": "context\n", "x": "7\nmine\n", "work/here": "heredoc\n",
    }  # fmt: skip


def test_triggers_run_for_the_next_build_only(cli, project, tmp_path, read_image) -> None:
    """A child may leave triggers of its own; its parent's are gone."""
    cli.build(project("FROM base\nONBUILD RUN echo parent >> /ran\n", name="parent"), "-t", "parent:1")
    child = "FROM parent:1\nONBUILD RUN echo child >> /ran\n"
    cli.build(
        project(child, base=False, name="child"), "-t", "child:1", "-o", f"type=oci,dest={tmp_path}/c.tar", "-o", "type=image"
    )  # fmt: skip
    image = read_image(tmp_path / "c.tar")
    assert image.config["config"]["OnBuild"] == ["RUN echo child >> /ran"]
    assert image.contents["ran"] == b"parent\n"
    cli.build(project("FROM child:1\n", base=False), "-o", f"type=oci,dest={tmp_path}/g.tar")
    image = read_image(tmp_path / "g.tar")
    assert "OnBuild" not in image.config["config"]
    assert image.contents["ran"] == b"parent\nchild\n"


def test_triggers_of_a_stage_run_in_the_stages_upon_it(cli, project, tmp_path) -> None:
    text = "FROM base AS one\nONBUILD RUN echo $0 ran >> /ran\nFROM one AS two\nFROM two\nRUN echo >> /ran\n"
    cli.build(project(text), "-o", tmp_path / "out")
    assert (tmp_path / "out/ran").read_text().count("ran") == 1


def test_triggers_of_a_named_context_run(cli, project, tmp_path) -> None:
    cli.build(project("FROM base\nONBUILD COPY f /f\n", name="parent"), "-t", "parent:1")
    folder = project("FROM other AS mine\nFROM mine\nCOPY g /g\n", {"f": "f", "g": "g"}, base=False)
    cli.build(folder, "--build-context", "other=docker-image://parent:1", "-o", tmp_path / "out")
    assert ((tmp_path / "out/f").read_text(), (tmp_path / "out/g").read_text()) == ("f", "g")


@pytest.mark.parametrize("trigger", ["FROM scratch", "MAINTAINER me", "ONBUILD RUN true"])
def test_some_instructions_are_no_triggers(cli, project, trigger: str) -> None:
    done = cli.build(project(f"FROM base\nONBUILD {trigger}\n"), code=1)
    assert "isn't allowed" in done.stderr
    assert "Dockerfile:5" in done.stderr


@pytest.fixture
def parent(cli, project, tmp_path):
    """Return a function that makes an OCI layout with an image that has a trigger no Dockerfile can leave."""

    def make(trigger: str) -> Path:
        layout = tmp_path / "layout"
        cli.build(project("FROM base\n", name="made"), "-o", f"type=oci,tar=false,dest={layout}")
        index = json.loads((layout / "index.json").read_text())

        def edit(entry: dict, change) -> None:
            blob = layout / "blobs" / entry["digest"].replace(":", "/")
            value = json.loads(blob.read_bytes())
            change(value)
            data = json.dumps(value).encode()
            entry |= {"digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}
            (layout / "blobs" / entry["digest"].replace(":", "/")).write_bytes(data)

        edit(
            index["manifests"][0],
            lambda manifest: edit(
                manifest["config"], lambda config: config["config"].update(OnBuild=[trigger])
            ),
        )
        (layout / "index.json").write_text(json.dumps(index))
        return layout

    return make


@pytest.mark.parametrize(
    ("trigger", "message", "shown"),
    [
        ("FROM scratch", "FROM isn't allowed as an ONBUILD trigger", "FROM scratch"),
        ("RUNN x", "unknown instruction: RUNN", "RUNN x"),
        ("COPY --fro=x a b", "unknown flag: --fro", "--fro=x"),
        ("RUN a\nRUN b", "single expression", "RUN a"),
        ("COPY --from=9 /a /b", "invalid stage index 9", "COPY --from=9"),
        ("RUN false", "exit code: 1", ""),
    ],
)
def test_a_bad_trigger_is_told_at_the_from_that_took_it(
    cli, project, parent, trigger, message, shown
) -> None:
    folder = project("FROM base AS unrelated\nFROM parent\nRUN true\n")
    done = cli.build(folder, "--build-context", f"parent=oci-layout://{parent(trigger)}", code=1)
    assert message in done.stderr
    assert "Dockerfile:5" in done.stderr
    assert shown in done.stderr
