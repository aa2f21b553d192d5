# SPDX-License-Identifier: Apache-2.0
"""The builders that are compared: llbkit itself, Docker's BuildKit, buildah. Each answers the same small interface.

Docker comes from a newer Debian suite than this one: its packages are downloaded from the mirror that apt already uses
and unpacked into a folder, nothing is installed. buildah is installed from this suite.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

DOCKER_PACKAGES = ("docker.io", "docker-cli", "docker-buildx", "containerd")
DOCKER_SUITE = "unstable"


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
        self._root = work / "docker"
        self._root.mkdir(exist_ok=True)
        self._bin = _unpack(work.parent / "docker-packages")
        self._socket = f"unix://{self._root}/docker.sock"
        self._config = self._root / "config"
        plugins = self._config / "cli-plugins"
        plugins.mkdir(parents=True, exist_ok=True)
        plugin = next((self._bin.parent.parent).glob("usr/**/cli-plugins/docker-buildx"))
        (plugins / "docker-buildx").unlink(missing_ok=True)
        (plugins / "docker-buildx").symlink_to(plugin)
        self._log = (self._root / "dockerd.log").open("wb")
        settings = {"features": {"containerd-snapshotter": True}, "insecure-registries": [registry]}
        (self._root / "daemon.json").write_text(json.dumps(settings))
        self._daemon = subprocess.Popen(
            [
                str(self._bin.parent / "sbin" / "dockerd"), "--iptables=false", "--ip6tables=false", "--bridge=none",
                "--config-file", str(self._root / "daemon.json"), "--data-root", str(self._root / "data"),
                "--exec-root", str(self._root / "exec"), "--pidfile", str(self._root / "pid"), "-H", self._socket,
            ],
            env=self.environment(), stdout=self._log, stderr=self._log,
        )  # fmt: skip
        self._wait()

    def _wait(self) -> None:
        for _ in range(300):
            done = subprocess.run(
                [str(self._bin / "docker"), "version"],
                env=self.environment(),
                capture_output=True,
                check=False,
            )
            if done.returncode == 0:
                return
            if self._daemon.poll() is not None:
                break
            time.sleep(0.2)
        raise SystemExit("dockerd does not start:\n" + (self._root / "dockerd.log").read_text()[-3000:])

    def environment(self) -> dict[str, str]:
        path = f"{self._bin}:{self._bin.parent / 'sbin'}:{os.environ['PATH']}:/usr/sbin"
        return {**os.environ, "PATH": path, "DOCKER_HOST": self._socket, "DOCKER_CONFIG": str(self._config)}

    def reset(self) -> None:
        docker = str(self._bin / "docker")
        for argv in (["buildx", "prune", "-af"], ["image", "prune", "-af"]):
            subprocess.run([docker, *argv], env=self.environment(), check=True, capture_output=True)

    def commands(self, build: Build) -> list[list[str]]:
        argv = [str(self._bin / "docker"), "buildx", "--builder", "default", "build", "--network=host"]
        argv += ["--progress=plain", "--provenance=false"]
        for key, value in build.args.items():
            argv += ["--build-arg", f"{key}={value}"]
        argv += ["-o", f"type=oci,dest={build.archive}" if build.archive else "type=cacheonly"]
        return [[*argv, str(build.context)]]

    def close(self) -> None:
        self._daemon.terminate()
        self._daemon.wait()
        self._log.close()


def _unpack(folder: Path) -> Path:
    """Return the ``usr/bin`` of Docker's packages, downloading and unpacking them once."""
    binaries = folder / "root" / "usr" / "bin"
    if binaries.exists():
        return binaries
    lists = folder / "lists"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    (folder / "sources.list").write_text(
        f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {debian_mirror()[0]} {DOCKER_SUITE} main\n"
    )
    options = [
        "-o", f"Dir::Etc::sourcelist={folder}/sources.list", "-o", "Dir::Etc::sourceparts=-",
        "-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache::pkgcache={folder}/pkgcache.bin",
        "-o", f"Dir::Cache::srcpkgcache={folder}/srcpkgcache.bin", "-o", "APT::Sandbox::User=root",
    ]  # fmt: skip
    subprocess.run(["apt-get", *options, "update", "-qq"], check=True)
    subprocess.run(["apt-get", *options, "download", "-qq", *DOCKER_PACKAGES], check=True, cwd=folder)
    staging = folder / "unpacking"
    for package in sorted(folder.glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(package), str(staging)], check=True)
    staging.rename(folder / "root")
    return binaries


def debian_mirror() -> tuple[str, str]:
    """Return the address of the Debian mirror that apt uses, and the name of this machine's suite."""
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    release = Path("/etc/os-release").read_text()
    suite = next(
        line.partition("=")[2] for line in release.splitlines() if line.startswith("VERSION_CODENAME=")
    )
    for line in done.stdout.splitlines():
        uri, _, name = line.partition(" ")
        if name == suite:
            return uri, suite
    raise SystemExit(f"no mirror of {suite} among apt's sources")
