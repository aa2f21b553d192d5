# SPDX-License-Identifier: Apache-2.0
"""Blobs damaged on disk: no exporter writes them out, and the same build recreates or refetches them."""

from __future__ import annotations

import hashlib
import json
import sys
import tarfile
import urllib.request
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.registry import registry as run_registry

pytestmark = pytest.mark.root

DOCKERFILE = "FROM scratch\nCOPY busybox /\nCOPY a /\n"


@pytest.fixture
def context(project):
    return project(DOCKERFILE, {"a": "content\n" * 1000}, base=False)


def damage(root: Path) -> int:
    """Flip a byte in the middle of every blob."""
    blobs = list((root / "content" / "blobs" / "sha256").iterdir())
    for blob in blobs:
        data = bytearray(blob.read_bytes())
        data[len(data) // 2] ^= 0x55
        blob.chmod(0o600)
        blob.write_bytes(data)
    return len(blobs)


def verify(archive: Path) -> int:
    """Check every blob of an archive against its name."""
    count = 0
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isreg() and member.name.startswith("blobs/sha256/"):
                stream = tar.extractfile(member)
                assert stream is not None
                assert hashlib.sha256(stream.read()).hexdigest() == member.name.rpartition("/")[2]
                count += 1
    return count


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_an_archive_is_whole_after_every_blob_was_damaged(cli, context, tmp_path, kind) -> None:
    output = f"type={kind},dest={tmp_path}/image.tar,name=x:1"
    cli.build(context, "-o", output)
    first = (tmp_path / "image.tar").read_bytes()
    assert damage(cli.root) >= 4
    cli.build(context, "-o", output)
    assert verify(tmp_path / "image.tar") == 4
    assert len((tmp_path / "image.tar").read_bytes()) == len(first)


def test_a_layout_directory_gets_no_damaged_blob(cli, context, tmp_path) -> None:
    output = f"type=oci,tar=false,dest={tmp_path}/"
    cli.build(context, "-o", output + "one")
    damage(cli.root)
    cli.build(context, "-o", output + "two")
    names = [path.name for path in (tmp_path / "two" / "blobs" / "sha256").iterdir()]
    assert len(names) == 4
    for path in (tmp_path / "two" / "blobs" / "sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def test_a_stream_ends_with_an_error_and_the_next_build_is_whole(cli, context, tmp_path) -> None:
    """What was written to a pipe cannot be taken back."""
    cli.build(context, "-o", f"type=oci,dest={tmp_path}/image.tar")
    damage(cli.root)
    said = cli.run("build", "--progress=plain", "-o", "type=oci,dest=-", context, code=1).stderr
    assert "was corrupt in the state directory and has been removed" in said
    for _ in range(3):
        done = cli.run("build", "--progress=plain", "-o", f"type=oci,dest={tmp_path}/again.tar", context)
        assert done.returncode == 0
    assert verify(tmp_path / "again.tar") == 4


def test_a_push_sends_whole_blobs_only(cli, context, tmp_path) -> None:
    with run_registry(tmp_path / "registry") as host:
        cli.build(context, "-o", "type=image", "--tag", f"{host}/damaged:1")
        damage(cli.root)
        cli.build(context, "--push", "--tag", f"{host}/damaged:1")
        with urllib.request.urlopen(
            urllib.request.Request(
                f"http://{host}/v2/damaged/manifests/1",
                headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
            )
        ) as answer:
            manifest = json.loads(answer.read())
        for item in (manifest["config"], *manifest["layers"]):
            with urllib.request.urlopen(f"http://{host}/v2/damaged/blobs/{item['digest']}") as answer:
                assert "sha256:" + hashlib.sha256(answer.read()).hexdigest() == item["digest"]
