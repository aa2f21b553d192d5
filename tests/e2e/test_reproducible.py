# SPDX-License-Identifier: Apache-2.0
"""SOURCE_DATE_EPOCH and ``rewrite-timestamp``: one Dockerfile, one image, on any machine at any time."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

EPOCH = 1_000_000_000
PROGRAM = """
FROM base AS gen
RUN mkdir -p /o/d && hostname > /o/host && umask > /o/umask && for i in z y x; do echo $i > /o/d/$i; done
FROM base
ARG VERSION=1
RUN echo $VERSION > /x && mkdir -p /p/q && ln -s /x /p/l && mkfifo /p/pipe && touch -t 200001010000 /p/old
COPY a /deep/er/a
COPY . /all/
COPY --link sub /linked/
COPY --from=gen /o /o
ADD --chmod=600 a /added
ADD t.tar.gz /unpacked/
WORKDIR /work/dir
ENV A=b
RUN rm -r /p/q; echo y >> /x; ln /x /y; env | sort > /env; cat /etc/hosts > /hosts; id > /id
RUN --mount=type=bind,target=/far/away --mount=type=tmpfs,target=/t --mount=type=cache,target=/c cat /far/away/a > /bound
VOLUME /v
"""


def write_context(folder: Path, *, backwards: bool, mtime: int) -> None:
    """Fill a build context; the order in which files are made, and their times, are all that may differ."""
    files = {"a": "a\n", "sub/b": "b\n", **{f"sub/many/{n}": str(n) for n in range(20)}}
    for name in sorted(files, reverse=backwards):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(files[name])
    (folder / "sub" / "link").symlink_to("b")
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        member = tarfile.TarInfo("inside/file")
        member.mtime = 1_700_000_000
        archive.addfile(member)
    (folder / "t.tar.gz").write_bytes(data.getvalue())
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (mtime, mtime), follow_symlinks=False)


def layers(archive: Path) -> list[list[tarfile.TarInfo]]:
    """Return the members of each layer of an OCI archive."""
    with tarfile.open(archive) as tar:

        def blob(digest: str) -> bytes:
            return tar.extractfile("blobs/" + digest.replace(":", "/")).read()  # type: ignore[union-attr]

        top = json.loads(tar.extractfile("index.json").read())  # type: ignore[union-attr]
        found = []
        for layer in json.loads(blob(top["manifests"][0]["digest"]))["layers"]:
            with tarfile.open(fileobj=io.BytesIO(blob(layer["digest"]))) as content:
                found.append(content.getmembers())
        return found


def test_two_machines_make_the_same_archive(cli, project, tmp_path) -> None:
    """Host name, umask, time zone, language, home, times and order of the files, and the time itself differ."""
    one, other = project(PROGRAM, name="one"), project(PROGRAM, name="other")
    write_context(one, backwards=False, mtime=1_600_000_000)
    write_context(other, backwards=True, mtime=1_650_000_000)
    output = "type=oci,dest={},rewrite-timestamp=true,name=x:1"
    arguments = ("--build-arg", f"SOURCE_DATE_EPOCH={EPOCH}")
    cli.build(one, "-o", output.format(tmp_path / "one.tar"), *arguments)
    cli.root = tmp_path / "elsewhere" / "state"
    cli.environment = {
        "TZ": "Asia/Tokyo", "LC_ALL": "C", "LANG": "de_DE.UTF-8", "HOME": "/nonexistent", "PYTHONHASHSEED": "77",
        "SOURCE_DATE_EPOCH": str(EPOCH),
    }  # fmt: skip
    command = cli.argv("build", "--progress=plain", "-o", output.format(tmp_path / "other.tar"), other)
    subprocess.run(
        ["unshare", "--uts", "sh", "-c", 'hostname elsewhere; umask 077; exec "$@"', "sh", *command],
        env=cli.env(), check=True, capture_output=True,
    )  # fmt: skip
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "other.tar").read_bytes()


@pytest.mark.skipif(shutil.which("crun") is None, reason="needs two runtimes")
@pytest.mark.parametrize("compression", ["gzip", "zstd", "uncompressed"])
def test_two_runtimes_make_the_same_archive(cli, project, tmp_path, compression: str) -> None:
    folder = project("FROM base\nRUN echo x > /x\n")
    for runtime in ("runc", "crun"):
        cli.root, cli.environment["LLBKIT_RUNTIME"] = tmp_path / f"state-{runtime}", runtime
        cli.build(
            folder, "--build-arg", f"SOURCE_DATE_EPOCH={EPOCH}",
            "-o", f"type=oci,dest={tmp_path}/{runtime}.tar,rewrite-timestamp=true,compression={compression}",
        )  # fmt: skip
    assert (tmp_path / "runc.tar").read_bytes() == (tmp_path / "crun.tar").read_bytes()


def test_times_after_the_epoch_are_clamped_and_earlier_ones_kept(cli, project, tmp_path, read_image) -> None:
    folder = project(PROGRAM)
    write_context(folder, backwards=False, mtime=900_000_000)
    cli.build(
        folder, "--build-arg", f"SOURCE_DATE_EPOCH={EPOCH}", "-o", f"type=oci,dest={tmp_path}/x.tar,rewrite-timestamp=true"
    )  # fmt: skip
    image = read_image(tmp_path / "x.tar")
    times = {name: member.mtime for name, member in image.files.items()}
    assert max(times.values()) == EPOCH
    assert (times["p/old"], times["all/a"], times["x"]) == (946_684_800, 900_000_000, EPOCH)
    assert {entry["created"] for entry in image.config["history"]} == {"2001-09-09T01:46:40Z"}
    assert image.config["created"] == "2001-09-09T01:46:40Z"
    assert {layer["annotations"]["buildkit/rewritten-timestamp"] for layer in image.manifest["layers"]} == {
        str(EPOCH)
    }


def test_without_rewriting_only_the_config_is_clamped(cli, project, tmp_path, read_image) -> None:
    folder = project("FROM base\nRUN echo x > /x\n")
    cli.build(folder, "--build-arg", f"SOURCE_DATE_EPOCH={EPOCH}", "-o", f"type=oci,dest={tmp_path}/x.tar")
    image = read_image(tmp_path / "x.tar")
    assert image.files["x"].mtime > EPOCH
    assert image.config["created"] == "2001-09-09T01:46:40Z"


def test_a_base_image_keeps_its_layers_and_its_history(cli, project, tmp_path, read_image) -> None:
    cli.build(project("FROM base\nRUN echo old > /old\n", name="parent"), "-t", "parent:1")
    cli.build(
        project("FROM parent:1\nRUN echo new > /new\n", base=False), "--build-arg", f"SOURCE_DATE_EPOCH={EPOCH}",
        "-o", f"type=oci,dest={tmp_path}/x.tar,rewrite-timestamp=true",
    )  # fmt: skip
    image = read_image(tmp_path / "x.tar")
    assert (image.files["old"].mtime > EPOCH, image.files["new"].mtime) == (True, EPOCH)
    assert ["annotations" in layer for layer in image.manifest["layers"]] == [False, False, False, True]
    assert [e["created"] > "2001-09-09T01:46:40Z" for e in image.config["history"]] == [
        True,
        True,
        True,
        False,
    ]


def test_removed_files_carry_no_time(cli, project, tmp_path) -> None:
    folder = project("FROM base\nRUN echo x > /x\nRUN rm /x\n")
    cli.build(folder, "-o", f"type=oci,dest={tmp_path}/x.tar")
    [gone] = [m for m in layers(tmp_path / "x.tar")[-1] if m.name == ".wh.x"]
    assert (gone.mtime, gone.mode) == (0, 0)


def test_a_file_where_the_kernel_is_mounted_is_told(cli, project) -> None:
    text = 'FROM scratch\nCOPY busybox /bin/busybox\nCOPY Dockerfile /proc\nRUN ["/bin/busybox", "true"]\n'
    done = cli.build(project(text, base=False), code=1)
    assert "/proc is not a directory" in done.stderr
