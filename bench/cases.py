# SPDX-License-Identifier: Apache-2.0
"""The questions. Each makes a context, warms what the question is not about, and times one build by each peer."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from bench.peers import Build, Peer
from llbkit.records import dataclass
from tests.support.dockerd import debian_mirror

BUSYBOX = 'FROM scratch AS base\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "--install", "-s", "/bin"]\n'


@dataclass(frozen=True)
class Case:
    """A question: ``prepare`` makes the build; ``warm`` says what ran before (nothing, the base, the whole)."""

    name: str
    prepare: Callable[[Path, str], Build]
    warm: str
    before: Callable[[Build, int], None] | None = None

    def time(self, peer: Peer, build: Build, run: int) -> float:
        """Bring the peer into the state that the question asks for, then time one build."""
        if self.warm != "all" or run == 0:
            peer.reset()
        if self.warm == "base":
            peer.run(_base_of(build))
        if self.warm == "all" and run == 0:
            peer.run(build)
        if self.before:
            self.before(build, run)
        return peer.run(build)


def _context(folder: Path, dockerfile: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy("/bin/busybox", folder / "busybox")
    (folder / "Dockerfile").write_text(dockerfile)
    return folder


def _base_of(build: Build) -> Build:
    folder = build.context.parent / (build.context.name + "-base")
    if not folder.exists():
        _context(folder, BUSYBOX)
    return Build(folder)


def chain(work: Path, registry: str) -> Build:
    """Sixty steps, each on top of the other."""
    return Build(_context(work / "chain", BUSYBOX + "".join(f"RUN echo {i}\n" for i in range(60))))


def wide(work: Path, registry: str) -> Build:
    """Forty independent stages and one that copies a file of each."""
    stages = "".join(f"FROM base AS s{i}\nRUN echo {i} > /out{i}\n" for i in range(40))
    joined = "FROM base\n" + "".join(f"COPY --from=s{i} /out{i} /all/\n" for i in range(40))
    return Build(_context(work / "wide", BUSYBOX + stages + joined))


def tree(work: Path, registry: str) -> Build:
    """Twenty thousand small files, copied in one step."""
    folder = work / "tree"
    if not (folder / "src").exists():
        randomness = random.Random(7)
        for directory in range(200):
            place = folder / "src" / f"d{directory:03}"
            place.mkdir(parents=True)
            for number in range(100):
                (place / f"f{number:03}").write_bytes(randomness.randbytes(randomness.randrange(100, 1500)))
    return Build(_context(folder, "FROM scratch\nCOPY src /src\n"))


def change_one_file(build: Build, run: int) -> None:
    """Give one of the files new content."""
    (build.context / "src" / "d100" / "f050").write_text(f"changed {random.random()}\n")


def pull(work: Path, registry: str) -> Build:
    """Pull a Debian image from the registry on this machine, unpack it, run one command."""
    return Build(_context(work / "pull", f"FROM {registry}/debian:bench\nRUN true\n"))


def cached(work: Path, registry: str) -> Build:
    """A small Dockerfile of which nothing has changed."""
    steps = "".join(f"RUN echo {i} > /f{i}\n" for i in range(5))
    return Build(_context(work / "cached", BUSYBOX + "COPY busybox /copy\n" + steps))


def export(work: Path, registry: str) -> Build:
    """Write what is cached as an OCI archive: the Debian root with a layer of twenty thousand files."""
    folder = work / "export"
    build = tree(work, registry)
    if not folder.exists():
        shutil.copytree(build.context, folder)
    return Build(_context(folder, f"FROM {registry}/debian:bench\nCOPY src /src\n"), work / "export.tar")


CASES = (
    Case("60 chained RUN", chain, "base"),
    Case("40 stages, 40 COPY", wide, "base"),
    Case("20,000 files, cold", tree, "nothing"),
    Case("20,000 files, cached", tree, "all"),
    Case("20,000 files, one changed", tree, "all", change_one_file),
    Case("pull, unpack, RUN", pull, "nothing"),
    Case("fully cached", cached, "all"),
    Case("build and export to OCI", export, "nothing"),
)


def push_debian(registry: str, work: Path) -> None:
    """Put a Debian root into the registry once; it is made by mmdebstrap and pushed by buildah."""
    tarball = work.parent / "debian.tar.gz"
    if not tarball.exists():
        partial = tarball.with_suffix(".part.tar")
        mirror, suite = debian_mirror()
        subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=minbase", suite, str(partial), mirror], check=True
        )
        subprocess.run(["gzip", "-1", str(partial)], check=True)
        Path(f"{partial}.gz").rename(tarball)
    folder = work / "debian"
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text('FROM scratch\nADD debian.tar.gz /\nCMD ["/bin/bash"]\n')
    shutil.copy(tarball, folder)
    base = ["buildah", "--root", str(work / "push"), "--runroot", str(work / "push-run")]
    name = f"{registry}/debian:bench"
    subprocess.run([*base, "build", "-q", "-t", name, str(folder)], check=True, capture_output=True)
    subprocess.run([*base, "push", "-q", "--tls-verify=false", name], check=True, capture_output=True)
