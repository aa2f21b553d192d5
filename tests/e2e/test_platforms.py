# SPDX-License-Identifier: Apache-2.0
"""Builds for several platforms: what is made, what is written, and what is taken as a base again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.registry import registry

from llbkit.llb.ir import platform as platforms

pytestmark = pytest.mark.root

NATIVE = platforms.default().architecture
FOREIGN = "arm64" if NATIVE != "arm64" else "amd64"
BINFMT = Path("/proc/sys/fs/binfmt_misc")
ARGUMENTS = """
FROM --platform=$BUILDPLATFORM parent AS gen
ARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT BUILDPLATFORM BUILDOS BUILDARCH
RUN echo "$TARGETPLATFORM $TARGETOS $TARGETARCH [$TARGETVARIANT] $BUILDPLATFORM $BUILDOS $BUILDARCH" > /args
FROM scratch
COPY --from=gen /args /args
COPY Dockerfile /d/f
"""


@pytest.fixture
def parent(cli, project) -> None:
    """Give the state directory an image ``parent`` for the native platform."""
    cli.build(project("FROM base\n", name="parent"), "-t", "parent")


@pytest.fixture
def folder(cli, project, parent) -> Path:
    """Return a context whose stage runs natively for each platform; commands are run from it."""
    cli.folder = project(ARGUMENTS, base=False)
    return cli.folder


def said(platform: str) -> str:
    system, architecture, *variant = platform.split("/")
    return f"{platform} {system} {architecture} [{''.join(variant)}] linux/{NATIVE} linux {NATIVE}\n"


THREE = (f"linux/{NATIVE}", f"linux/{FOREIGN}", "linux/arm/v7")


def test_every_output_holds_all_platforms(cli, folder) -> None:
    """Destinations are relative, as users write them."""
    cli.build(
        folder, "--platform", ",".join(THREE), "-t", "many:1", "-o", "out", "-o", "type=tar,dest=t.tar",
        "-o", "type=oci,dest=o.tar", "-o", "type=image", "--metadata-file", "meta.json", "--iidfile", "iid",
    )  # fmt: skip
    folders = {platform.replace("/", "_"): platform for platform in THREE}
    assert sorted(p.name for p in (folder / "out").iterdir()) == sorted(folders)
    with tarfile.open(folder / "t.tar") as tar:
        assert {name for name in tar.getnames() if "/" not in name} == folders.keys()
        for name, platform in folders.items():
            assert (folder / "out" / name / "args").read_text() == said(platform)
            assert tar.extractfile(f"{name}/args").read().decode() == said(platform)  # type: ignore[union-attr]
    with tarfile.open(folder / "o.tar") as tar:

        def blob(digest: str) -> dict:
            return json.load(tar.extractfile("blobs/" + digest.replace(":", "/")))  # type: ignore[arg-type]

        top = json.load(tar.extractfile("index.json"))["manifests"][0]  # type: ignore[arg-type]
        entries = blob(top["digest"])["manifests"]
        assert ["/".join(e["platform"][k] for k in ("os", "architecture", "variant") if k in e["platform"]) for e in entries] == list(THREE)  # fmt: skip
        configs = [blob(blob(entry["digest"])["config"]["digest"]) for entry in entries]
        assert [c["architecture"] for c in configs] == [NATIVE, FOREIGN, "arm"]
        assert [c.get("variant") for c in configs] == [None, None, "v7"]
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["containerimage.digest"] == (folder / "iid").read_text() == top["digest"]
    assert meta["containerimage.descriptor"]["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert "containerimage.config.digest" not in meta
    assert meta["image.name"] == "docker.io/library/many:1"
    assert "many" in cli.run("images").stdout


def test_one_platform_of_a_pushed_index_is_chosen(cli, folder, project, tmp_path) -> None:
    (tmp_path / "registry").mkdir()
    with registry(tmp_path / "registry") as host:
        cli.build(folder, "--platform", ",".join(THREE), "-t", f"{host}/many:1", "--push")
        cli.root = tmp_path / "fresh"
        user = project(f"FROM {host}/many:1\nCOPY Dockerfile /more\n", base=False, name="user")
        for platform in THREE:
            cli.build(user, "--platform", platform, "-o", tmp_path / "out")
            assert (tmp_path / "out/args").read_text() == said(platform)
        cli.build(user, "-o", tmp_path / "native")
        assert (tmp_path / "native/args").read_text() == said(f"linux/{NATIVE}")
        done = cli.build(user, "--platform", "linux/s390x", code=1)
        assert "linux/s390x" in done.stderr
        assert "linux/arm/v7" in done.stderr
        cli.build(
            project(f"FROM --platform=linux/arm/v7 {host}/many:1\n", base=False, name="pinned"),
            "--platform", f"linux/{FOREIGN}", "-o", tmp_path / "pinned",
        )  # fmt: skip
        assert (tmp_path / "pinned/args").read_text() == said("linux/arm/v7")
        both = project(
            f"FROM --platform=linux/arm/v7 {host}/many:1 AS a\nFROM {host}/many:1\nCOPY --from=a /args /other\n",
            base=False, name="both",
        )  # fmt: skip
        done = cli.build(both, "--progress=plain", "-o", tmp_path / "both")
        loads = [line for line in done.stderr.splitlines() if f"load metadata for {host}/many:1" in line]
        assert len(loads) == 2, "a step for each platform, though their names are the same"
        assert (tmp_path / "both/other").read_text() == said("linux/arm/v7")
        assert (tmp_path / "both/args").read_text() == said(f"linux/{NATIVE}")


def test_files_have_no_image_id(cli, folder) -> None:
    done = cli.build(folder, "-o", "out", "--iidfile", "iid", code=2)
    assert "image id" in done.stderr
    assert not (folder / "out").exists()


def test_docker_archives_refuse_an_index(cli, folder) -> None:
    done = cli.build(folder, "--platform", ",".join(THREE), "-o", "type=docker,dest=d.tar", code=1)
    assert "type=oci" in done.stderr
    assert not (folder / "d.tar").exists()


def test_platforms_share_one_directory_if_their_files_differ(cli, folder) -> None:
    (folder / "Dockerfile").write_text("FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /d/$TARGETARCH\n")
    flat = "dest={},platform-split=false"
    (folder / "out/d").mkdir(parents=True)
    (folder / "out/d/stale").write_text("")
    both = ("--platform", f"linux/{NATIVE},linux/{FOREIGN}")
    for _ in range(2):
        cli.build(folder, *both, "-o", "type=local,mode=delete," + flat.format("out"))
        assert sorted(p.name for p in (folder / "out/d").iterdir()) == sorted([NATIVE, FOREIGN])
    cli.build(folder, *both, "-o", "type=tar," + flat.format("t.tar"))
    with tarfile.open(folder / "t.tar") as tar:
        assert sorted(tar.getnames()) == sorted(["d", f"d/{NATIVE}", f"d/{FOREIGN}"])
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /d/f\n")
    for output in ("type=local," + flat.format("clash"), "type=tar," + flat.format("clash.tar")):
        done = cli.build(folder, *both, "-o", output, code=1)
        assert f"cannot overwrite d/f from linux/{NATIVE} with linux/{FOREIGN}" in done.stderr
    assert not (folder / "clash/d").exists()
    assert not (folder / "clash.tar").exists()


def test_one_platform_is_split_when_told(cli, folder) -> None:
    cli.build(folder, "-o", "type=local,dest=out,platform-split=true")
    assert [p.name for p in (folder / "out").iterdir()] == [f"linux_{NATIVE}"]


def test_outputs_of_files_have_the_epoch_as_their_time(cli, folder) -> None:
    (folder / "old").write_text("")
    os.utime(folder / "old", (1, 1))
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY old Dockerfile /d/\n")
    cli.environment["SOURCE_DATE_EPOCH"] = "1000000000"
    cli.build(folder, "--platform", ",".join(THREE), "-o", "out", "-o", "type=tar,dest=t.tar")
    assert {p.stat().st_mtime for p in (folder / "out").rglob("*")} == {10**9}
    with tarfile.open(folder / "t.tar") as tar:
        assert {member.mtime for member in tar} == {10**9}


def test_a_foreign_program_needs_an_emulator(cli, folder) -> None:
    if any(entry.name not in ("register", "status") for entry in BINFMT.glob("*")):
        pytest.skip("this host has emulators")
    (folder / "tool").write_bytes(elf(FOREIGN))
    (folder / "tool").chmod(0o755)
    (folder / "Dockerfile").write_text('FROM scratch\nCOPY tool /tool\nRUN ["/tool"]\n')
    done = cli.build(folder, "--platform", f"linux/{FOREIGN}", code=3)
    assert f"cannot run {FOREIGN} programs" in done.stderr
    assert "Dockerfile:3" in done.stderr
    assert "qemu-user-static" in done.stderr


def test_an_image_whose_programs_are_not_of_its_platform_runs_them(cli, folder) -> None:
    shutil.copy("/bin/busybox", folder / "busybox")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/sh\nRUN true\n")
    cli.build(folder, "--platform", f"linux/{FOREIGN}")


@contextmanager
def emulator(program: Path) -> Iterator[None]:
    """Let the kernel run programs of `FOREIGN` with ``program``; it stays open, so containers need not see it."""
    mounted = (BINFMT / "register").exists()
    if not mounted:
        done = subprocess.run(
            ["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT], check=False, capture_output=True
        )
        if done.returncode:
            pytest.skip("this kernel has no binfmt_misc")
    name = "llbkit-test"
    try:
        magic = elf(FOREIGN)[:20]
        escaped = "".join(f"\\x{byte:02x}" for byte in magic)
        (BINFMT / "register").write_bytes(f":{name}:M::{escaped}::{program}:F".encode())
        yield
    finally:
        if (BINFMT / name).exists():
            (BINFMT / name).write_text("-1")
        if not mounted:
            subprocess.run(["umount", BINFMT], check=True)


def elf(architecture: str) -> bytes:
    """Return the beginning of a program."""
    machine = {"amd64": 62, "arm64": 183}[architecture]
    return (
        b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00" + machine.to_bytes(2, "little") + b"foreign program\n"
    )


def test_a_registered_emulator_runs_foreign_programs(cli, folder, tmp_path) -> None:
    """The emulator is a ``cat``: what a foreign program prints is itself."""
    shutil.copy("/bin/busybox", tmp_path / "cat")
    (folder / "tool").write_bytes(elf(FOREIGN))
    (folder / "tool").chmod(0o755)
    (folder / "Dockerfile").write_text('FROM scratch\nCOPY tool /tool\nRUN ["/tool"]\n')
    with emulator(tmp_path / "cat"):
        done = cli.build(folder, "--platform", f"linux/{FOREIGN}", "--progress=plain")
    assert "foreign program" in done.stderr


def test_a_windows_image_takes_version_and_features_of_its_base(cli, project, tmp_path) -> None:
    base = project("FROM scratch\nCOPY Dockerfile /f\n", base=False, name="bottom")
    written = "windows(10.0.1+win32k)/amd64"
    cli.build(base, "--platform", written, "-o", f"type=oci,tar=false,dest={tmp_path}/base")
    folder = project("FROM base\nCOPY Dockerfile /g\n", base=False)
    archive, context = tmp_path / "a.tar", f"base=oci-layout://{tmp_path}/base"
    cli.build(
        folder, "--platform=windows/amd64", "--build-context", context, "-o", f"type=oci,dest={archive}"
    )
    with tarfile.open(archive) as tar:
        [entry] = json.load(tar.extractfile("index.json"))["manifests"]
    assert entry["platform"] == {
        "architecture": "amd64",
        "os": "windows",
        "os.version": "10.0.1",
        "os.features": ["win32k"],
    }
