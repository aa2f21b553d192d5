# SPDX-License-Identifier: Apache-2.0
"""The builders that are compared: llbkit itself, Docker's BuildKit, buildah. Each answers the same small interface.

Docker comes from a newer Debian suite than this one (see `tests.support.dockerd`), buildah is installed from this suite.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import field
from pathlib import Path

from llbkit.records import dataclass
from tests.support.dockerd import Dockerd


@dataclass
class Build:
    """One build: context, Dockerfile in it, and where the OCI archive goes (None: no export)."""

    context: Path
    archive: Path | None = None
    args: dict[str, str] = field(default_factory=dict)


class Peer:
    """A builder. ``reset`` throws away all of its state."""

    name: str

    def reset(self) -> None:
        raise NotImplementedError

    def commands(self, build: Build) -> list[list[str]]:
        """Return the commands of one build, run one after the other."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def run(self, build: Build) -> float:
        """Build and return the seconds of the whole command."""
        commands, environment = self.commands(build), self.environment()
        seconds = 0.0
        for argv in commands:
            began = time.perf_counter()
            done = subprocess.run(argv, env=environment, capture_output=True, check=False)
            seconds += time.perf_counter() - began
            if done.returncode != 0:
                tail = (done.stdout + done.stderr).decode(errors="replace")[-3000:]
                raise SystemExit(f"{self.name} failed: {' '.join(argv)}\n{tail}")
        return seconds

    def close(self) -> None:
        """Stop what was started."""


class Llbkit(Peer):
    """This checkout, embedded: every command starts a process and opens its state."""

    name = "llbkit"

    def __init__(self, work: Path) -> None:
        self._root = work / "llbkit-state"
        self._command = str(Path(sys.executable).with_name("llbkit"))

    def reset(self) -> None:
        shutil.rmtree(self._root, ignore_errors=True)

    def environment(self) -> dict[str, str]:
        """As after an installation: modules are compiled."""
        return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}

    def commands(self, build: Build) -> list[list[str]]:
        argv = [self._command, "--root", str(self._root), "build", "--progress=plain"]
        for key, value in build.args.items():
            argv += ["--build-arg", f"{key}={value}"]
        argv += ["-o", f"type=oci,dest={build.archive}" if build.archive else "type=cacheonly"]
        return [[*argv, str(build.context)]]


class Buildah(Peer):
    """Debian's buildah with layer caching."""

    name = "buildah"

    def __init__(self, work: Path) -> None:
        self._work = work
        self._root = work / "buildah"

    def reset(self) -> None:
        base = self._base()
        subprocess.run([*base, "rm", "--all"], capture_output=True, check=False)
        subprocess.run([*base, "rmi", "--all", "--force"], capture_output=True, check=False)

    def _base(self) -> list[str]:
        return ["buildah", "--root", str(self._root), "--runroot", str(self._work / "buildah-run")]

    def commands(self, build: Build) -> list[list[str]]:
        argv = [
            *self._base(),
            "build",
            "--layers",
            "--isolation",
            "chroot",
            "--tls-verify=false",
            "--jobs",
            "2",
        ]
        for key, value in build.args.items():
            argv += ["--build-arg", f"{key}={value}"]
        if not build.archive:
            return [[*argv, str(build.context)]]
        build.archive.unlink(missing_ok=True)
        push = [*self._base(), "push", "bench", f"oci-archive:{build.archive}"]
        return [[*argv, "-t", "bench", str(build.context)], push]


class Docker(Peer):
    """dockerd with BuildKit inside, warm; its commands are ``docker buildx build``."""

    name = "buildkit"

    def __init__(self, work: Path, registry: str) -> None:
        self._daemon = Dockerd(work / "docker", registry=registry, packages=work.parent / "docker-packages")

    def environment(self) -> dict[str, str]:
        return self._daemon.environment()

    def reset(self) -> None:
        self._daemon.prune()

    def commands(self, build: Build) -> list[list[str]]:
        argv = [*self._daemon.buildx, "--network=host", "--progress=plain", "--provenance=false"]
        for key, value in build.args.items():
            argv += ["--build-arg", f"{key}={value}"]
        argv += ["-o", f"type=oci,dest={build.archive}" if build.archive else "type=cacheonly"]
        return [[*argv, str(build.context)]]

    def close(self) -> None:
        self._daemon.close()
