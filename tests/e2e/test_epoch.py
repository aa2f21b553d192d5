# SPDX-License-Identifier: Apache-2.0
"""SOURCE_DATE_EPOCH that names where its time comes from: a context, a stage; and what outputs make of it."""

from __future__ import annotations

import functools
import http.server
import io
import json
import os
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest
import zstandard

NEWEST = 1_600_000_123
COMMITTED = 1_500_000_000


@pytest.fixture
def served(tmp_path):
    """Return a folder and the address at which it is served; files below ``timeless/`` without their time."""
    folder = tmp_path / "served"
    (folder / "timeless").mkdir(parents=True)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def send_header(self, keyword: str, value: str) -> None:
            if not (keyword == "Last-Modified" and "/timeless/" in self.path):
                super().send_header(keyword, value)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def archive(kind: str, files: dict[str, int], dockerfile: str = "FROM scratch\nCOPY . /c/\n") -> bytes:
    """Return a tar with a Dockerfile and files of the given times; directories are younger than all."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:" + ("" if kind in ("tar", "zst") else kind)) as tar:
        folder = tarfile.TarInfo("d")
        folder.type, folder.mtime = tarfile.DIRTYPE, 2_000_000_000
        tar.addfile(folder)
        for name, mtime in {"Dockerfile": 1, **files}.items():
            data = dockerfile.encode() if name == "Dockerfile" else b"x" * 1000
            member = tarfile.TarInfo(name)
            member.mtime, member.size = mtime, len(data)
            tar.addfile(member, io.BytesIO(data))
    return zstandard.compress(out.getvalue()) if kind == "zst" else out.getvalue()


def epoch_of(read_image, path: Path) -> str:
    """Return the time of the image's own history."""
    (created,) = {entry["created"] for entry in read_image(path).config["history"]}
    return str(created)


def git(folder: Path, *args: str) -> None:
    when = f"{COMMITTED} +0200"
    env = {
        **os.environ, "GIT_COMMITTER_DATE": when, "GIT_AUTHOR_DATE": "1400000000 +0000", "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b",
    }  # fmt: skip
    subprocess.run(["git", *args], cwd=folder, env=env, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path, served):
    """Return the address of a repository with one commit."""
    folder, address = served
    work = tmp_path / "repo"
    work.mkdir()
    git(work, "init", "-q", "-b", "main")
    (work / "f").write_text("f\n")
    (work / "Dockerfile").write_text("FROM scratch\nCOPY f /f\n")
    git(work, "add", ".")
    git(work, "commit", "-qm", "one")
    git(work, "clone", "-q", "--bare", str(work), str(folder / "repo.git"))
    git(folder / "repo.git", "update-server-info")
    return f"{address}/repo.git"


def test_the_time_of_a_git_context_is_that_of_its_commit(cli, tmp_path, repository, read_image) -> None:
    """Its files get that time too, so two checkouts make one image."""
    out = tmp_path / "x.tar"
    argument = ("--build-arg", "SOURCE_DATE_EPOCH=context")
    done = cli.run(
        "build", "--progress=plain", *argument, f"{repository}#main", "-o", f"type=oci,dest={out},name=x"
    )
    assert "[internal] resolve main build context metadata" in done.stderr
    image = read_image(out)
    assert epoch_of(read_image, out) == "2017-07-14T04:40:00+02:00"
    assert image.files["f"].mtime == COMMITTED
    cli.root = tmp_path / "elsewhere"
    again = tmp_path / "again.tar"
    cli.run("build", *argument, f"{repository}#main", "-o", f"type=oci,dest={again},name=x")
    assert out.read_bytes() == again.read_bytes()


def test_a_git_context_has_the_times_of_its_checkout_without_an_epoch(
    cli, tmp_path, repository, read_image
) -> None:
    cli.run("build", repository, "-o", f"type=oci,dest={tmp_path}/x.tar")
    assert read_image(tmp_path / "x.tar").files["f"].mtime > COMMITTED


@pytest.mark.parametrize("kind", ["tar", "gz", "bz2", "xz"])
def test_the_time_of_an_archive_is_that_of_its_newest_file(
    cli, tmp_path, served, read_image, kind: str
) -> None:
    folder, address = served
    (folder / "timeless" / "context").write_bytes(archive(kind, {"d/a": 5, "b": NEWEST, "c": 7}))
    out = tmp_path / "x.tar"
    cli.run(
        "build", "--build-arg", "SOURCE_DATE_EPOCH=context", f"{address}/timeless/context",
        "-o", f"type=oci,dest={out}",
    )  # fmt: skip
    assert epoch_of(read_image, out) == "2020-09-13T12:28:43Z"
    assert read_image(out).files["c/b"].mtime == NEWEST


def test_a_server_that_says_a_time_is_believed(cli, tmp_path, served, read_image) -> None:
    folder, address = served
    (folder / "context").write_bytes(archive("gz", {"b": NEWEST}))
    os.utime(folder / "context", (COMMITTED, COMMITTED))
    out = tmp_path / "x.tar"
    cli.run(
        "build",
        "--build-arg",
        "SOURCE_DATE_EPOCH=context",
        f"{address}/context",
        "-o",
        f"type=oci,dest={out}",
    )
    assert epoch_of(read_image, out) == "2017-07-14T02:40:00Z"


@pytest.mark.parametrize("kind", ["zst", "gz"])
def test_a_stage_gives_the_time_of_what_it_adds(
    cli, project, tmp_path, served, read_image, kind: str
) -> None:
    folder, address = served
    (folder / "timeless" / "release").write_bytes(archive(kind, {"b": NEWEST}))
    context = project(
        "ARG SOURCE_DATE_EPOCH=code\nARG FILE=release\n"
        f"FROM scratch AS code\nADD {address}/timeless/$FILE /\n"
        "FROM scratch\nARG SOURCE_DATE_EPOCH\nENV AT=$SOURCE_DATE_EPOCH\n",
        base=False,
    )
    out = tmp_path / "x.tar"
    cli.build(context, "-o", f"type=oci,dest={out}")
    assert epoch_of(read_image, out) == "2020-09-13T12:28:43Z"
    assert f"AT={NEWEST}" in read_image(out).config["config"]["Env"]


def test_a_damaged_archive_is_named(cli, project, served) -> None:
    folder, address = served
    data = archive("tar", {"b": NEWEST, "c": 1})
    (folder / "timeless" / "release").write_bytes(data[:1800])
    context = project(f"FROM scratch AS code\nADD {address}/timeless/release /\nFROM scratch\n", base=False)
    done = cli.build(context, "--build-arg", "SOURCE_DATE_EPOCH=code", code=1)
    assert "damaged archive: unexpected end" in done.stderr


def test_what_has_no_time_sets_none(cli, project, tmp_path, read_image) -> None:
    out = tmp_path / "x.tar"
    context = project("FROM scratch\nCOPY Dockerfile /\n", base=False)
    cli.build(context, "--build-arg", "SOURCE_DATE_EPOCH=context", "-o", f"type=oci,dest={out}")
    assert epoch_of(read_image, out) > "2024"


def test_an_output_may_ask_for_no_time(cli, project, tmp_path, read_image) -> None:
    context = project("ARG SOURCE_DATE_EPOCH=1000\nFROM scratch\nCOPY Dockerfile /\n", base=False)
    os.utime(context / "Dockerfile", (COMMITTED, COMMITTED))
    rewriting = f"type=oci,dest={tmp_path}/{{}}.tar,rewrite-timestamp=true"
    cli.build(
        context, "-o", rewriting.format("one"), "-o", rewriting.format("other") + ",source-date-epoch=",
        "-o", f"type=local,dest={tmp_path}/files,source-date-epoch=",
        "-o", f"type=local,dest={tmp_path}/dated",
    )  # fmt: skip
    assert [read_image(tmp_path / f"{name}.tar").files["Dockerfile"].mtime for name in ("one", "other")] == [
        1000,
        COMMITTED,
    ]
    assert (tmp_path / "files" / "Dockerfile").stat().st_mtime == COMMITTED
    assert (tmp_path / "dated" / "Dockerfile").stat().st_mtime == 1000


@pytest.mark.parametrize("value", ["x", "1_0", "99999999999999"])
def test_an_output_refuses_what_is_no_time(cli, project, tmp_path, value: str) -> None:
    context = project("FROM scratch\nCOPY Dockerfile /\n", base=False)
    done = cli.run(
        "build", "-o", f"type=oci,dest={tmp_path}/x.tar,source-date-epoch={value}", context, code=2
    )
    assert "is not a number of seconds since 1970" in done.stderr


def test_every_platform_has_its_own_time(cli, project, tmp_path, served) -> None:
    folder, address = served
    times = {"amd64": 1_000_000_000, "arm64": 1_100_000_000}
    for machine, time in times.items():
        (folder / machine).write_text("")
        os.utime(folder / machine, (time, time))
    context = project(
        f"ARG SOURCE_DATE_EPOCH=code\nFROM scratch AS code\nADD {address}/$TARGETARCH /\n"
        "FROM scratch\nCOPY Dockerfile /\n",
        base=False,
    )
    platforms = ("--platform", ",".join(f"linux/{machine}" for machine in times))
    cli.build(
        context, *platforms, "-o", f"type=oci,dest={tmp_path}/x.tar,rewrite-timestamp=true",
        "-o", f"type=local,dest={tmp_path}/files",
    )  # fmt: skip
    assert {
        machine: (tmp_path / "files" / f"linux_{machine}" / "Dockerfile").stat().st_mtime for machine in times
    } == times
    with tarfile.open(tmp_path / "x.tar") as tar:

        def blob(digest: str) -> bytes:
            return tar.extractfile("blobs/" + digest.replace(":", "/")).read()  # type: ignore[union-attr]

        top = json.loads(tar.extractfile("index.json").read())["manifests"][0]  # type: ignore[union-attr]
        assert top["annotations"]["org.opencontainers.image.created"] == "2004-11-09T11:33:20Z"
        for one in json.loads(blob(top["digest"]))["manifests"]:
            time = times[one["platform"]["architecture"]]
            (layer,) = json.loads(blob(one["digest"]))["layers"]
            assert layer["annotations"]["buildkit/rewritten-timestamp"] == str(time)
            with tarfile.open(fileobj=io.BytesIO(blob(layer["digest"]))) as content:
                assert {member.mtime for member in content} == {time}
