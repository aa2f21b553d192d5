# SPDX-License-Identifier: Apache-2.0
"""Real builds through the command line, as a user makes them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import field
from pathlib import Path

import pytest

from llbkit.records import dataclass

REPOSITORY = Path(__file__).parents[2]
BUSYBOX = Path("/bin/busybox")
BASE = 'FROM scratch AS base\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "--install", "-s", "/bin"]\n'


@dataclass
class Cli:
    """The ``llbkit`` command on a state directory of its own, in ``folder``."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path | None = None

    def argv(self, *args: object) -> list[str]:
        return [sys.executable, "-m", "llbkit", "--root", str(self.root), *map(str, args)]

    def env(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(REPOSITORY), **self.environment}

    def run(
        self, *args: object, code: int = 0, stdin: bytes | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, check its exit code, and return what it printed."""
        done = subprocess.run(
            self.argv(*args),
            env=self.env(),
            input=stdin,
            capture_output=True,
            check=False,
            cwd=cwd or self.folder,
        )
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        assert done.returncode == code, f"exit code {done.returncode}\n{out}\n{err}"
        assert "Traceback" not in err
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def build(self, context: Path, *args: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Build a context with plain progress."""
        return self.run("build", "--progress=plain", *args, context, code=code)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Return a command line with an empty state directory."""
    return Cli(tmp_path / "state")


@pytest.fixture(params=["overlay", "native"])
def on_both_snapshotters(request: pytest.FixtureRequest, cli: Cli) -> None:
    """Have the test run twice, once on each way to store file systems."""
    cli.environment["LLBKIT_SNAPSHOTTER"] = request.param


@pytest.fixture
def project(tmp_path: Path):
    """Return a function that makes a build context with busybox, a Dockerfile and files."""

    def make(
        dockerfile: str, files: dict[str, str] | None = None, *, base: bool = True, name: str = "project"
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        shutil.copy(BUSYBOX, folder / "busybox")
        (folder / "Dockerfile").write_text((BASE if base else "") + dockerfile)
        for path, text in (files or {}).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        return folder

    return make


@dataclass
class Image:
    """An OCI archive, read with nothing of ours: its config, and its files with later layers winning."""

    manifest: dict
    config: dict
    files: dict[str, tarfile.TarInfo]
    contents: dict[str, bytes]


@pytest.fixture
def read_image():
    """Return a function that reads an OCI archive."""

    def read(path: Path) -> Image:
        files: dict[str, tarfile.TarInfo] = {}
        contents: dict[str, bytes] = {}
        with tarfile.open(path) as archive:

            def blob(digest: str):
                member = archive.extractfile("blobs/" + digest.replace(":", "/"))
                assert member is not None
                return member

            top = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
            manifest = json.load(blob(top["manifests"][0]["digest"]))
            config = json.load(blob(manifest["config"]["digest"]))
            for layer in manifest["layers"]:
                with tarfile.open(fileobj=blob(layer["digest"])) as tar:
                    _apply(tar, files, contents)
        return Image(manifest, config, files, contents)

    return read


def _apply(tar: tarfile.TarFile, files: dict[str, tarfile.TarInfo], contents: dict[str, bytes]) -> None:
    for member in tar:
        path = member.name.rstrip("/").removeprefix("./")
        folder, _, name = path.rpartition("/")
        if name.startswith(".wh."):
            gone = f"{folder}/{name.removeprefix('.wh.')}".lstrip("/")
            for old in [p for p in files if p == gone or p.startswith(gone + "/")]:
                files.pop(old)
                contents.pop(old, None)
            continue
        files[path] = member
        contents.pop(path, None)
        if member.isreg():
            contents[path] = tar.extractfile(member).read()  # type: ignore[union-attr]
