# SPDX-License-Identifier: Apache-2.0
"""Contexts that are built to trick: links that lead out, names that mean something else in an image."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.root


@pytest.fixture
def context(tmp_path) -> Path:
    folder = tmp_path / "ctx"
    (folder / "shared").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (folder / "secret").write_text("word")
    (folder / "shared" / "ignore").write_text("secret\n")
    (tmp_path / "outside").write_text("secret\n")
    return folder


@pytest.mark.parametrize("name", [".dockerignore", "Dockerfile.dockerignore"])
@pytest.mark.parametrize("target", ["../outside", "/etc/hostname", "{outside}", "missing", "shared", "loop"])
def test_an_ignore_file_that_leads_out_is_never_no_ignore_file(cli, context, tmp_path, name, target) -> None:
    target = target.format(outside=tmp_path / "outside")
    (context / "loop").symlink_to("loop")
    (context / name).symlink_to(target)
    done = cli.build(context, "-o", tmp_path / "out", code=1)
    assert name in done.stderr
    assert "internal error" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("target", ["shared/ignore", "/shared/ignore", "../shared/ignore", "link"])
def test_an_ignore_file_may_be_a_link_inside_the_context(cli, context, tmp_path, target) -> None:
    """Links mean what they mean with the context as the root."""
    (context / "link").symlink_to("shared/ignore")
    (context / ".dockerignore").symlink_to(target)
    cli.build(context, "-o", tmp_path / "out")
    assert (tmp_path / "out" / "shared" / "ignore").exists()
    assert not (tmp_path / "out" / "secret").exists()


@pytest.mark.usefixtures("on_both_snapshotters")
@pytest.mark.parametrize(
    "name", [".wh.secret", "shared/.wh.ignore", ".wh..wh..opq", ".wh.", "shared/.wh.d/f"]
)
def test_names_of_whiteouts_are_kept_or_refused_never_lost(cli, context, tmp_path, name) -> None:
    (context / name).parent.mkdir(exist_ok=True)
    (context / name).write_text("content")
    cli.build(context, "-o", tmp_path / "out")
    assert (tmp_path / "out" / name).read_text() == "content"
    assert (tmp_path / "out" / "secret").read_text() == "word"
    done = cli.build(context, "-o", f"type=oci,dest={tmp_path}/image.tar", code=1)
    assert "cannot be stored in an image" in done.stderr
    assert os.path.dirname(name).split("/")[0] in done.stderr
    assert not (tmp_path / "image.tar").exists()
    (context / ".dockerignore").write_text("**/.wh.*\n")
    cli.build(context, "-o", f"type=oci,dest={tmp_path}/image.tar")


DEEP = "a/" * 30_000 + "\\\n" + "a/" * 20_000
LONG = "a" * 60_000 + "\\\n" + "a" * 40_000


@pytest.mark.parametrize(
    "line",
    [
        f"WORKDIR /{DEEP}",
        f"WORKDIR /{LONG}",
        f"COPY shared /{DEEP}",
        f"COPY {DEEP} /",
        f"RUN --mount=type=cache,target=/{DEEP} echo",
    ],
    ids=["deep workdir", "long workdir", "deep destination", "deep source", "deep mount"],
)
def test_paths_of_100_kilobytes_are_refused_at_once(cli, context, tmp_path, line) -> None:
    (context / "Dockerfile").write_text(f"FROM scratch\n{line}\n")
    done = cli.build(context, "-o", tmp_path / "out", code=1)
    assert "File name too long" in done.stderr
    assert "internal error" not in done.stderr
