# SPDX-License-Identifier: Apache-2.0
"""Docker's daemon, BuildKit inside, of a newer Debian suite than this machine's: the engine that ours is compared with.

Its packages are downloaded from the mirror that apt already uses and unpacked into a folder; nothing is installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

PACKAGES = ("docker.io", "docker-cli", "docker-buildx", "containerd")
SUITE = "unstable"
UNPACKED = Path("/var/tmp/llbkit-bench/docker-packages")
"""Where the packages lie, for everybody who needs them."""


class Dockerd:
    """A running daemon with state, socket and client settings of its own below ``root``.

    Raises:
        RuntimeError: the daemon does not start; the message holds its log.
    """

    def __init__(
        self, root: Path, *, registry: str, packages: Path = UNPACKED, options: tuple[str, ...] = ()
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._bin = unpack(packages)
        self._socket = f"unix://{root}/docker.sock"
        self._config = root / "config"
        plugins = self._config / "cli-plugins"
        plugins.mkdir(parents=True, exist_ok=True)
        plugin = next(self._bin.parent.parent.glob("usr/**/cli-plugins/docker-buildx"))
        (plugins / "docker-buildx").unlink(missing_ok=True)
        (plugins / "docker-buildx").symlink_to(plugin)
        settings = {"features": {"containerd-snapshotter": True}, "insecure-registries": [registry]}
        (root / "daemon.json").write_text(json.dumps(settings))
        self._log = root / "dockerd.log"
        with self._log.open("wb") as log:
            self._daemon = subprocess.Popen(
                [
                    str(self._bin.parent / "sbin" / "dockerd"), "--iptables=false", "--ip6tables=false", "--bridge=none",
                    "--config-file", str(root / "daemon.json"), "--data-root", str(root / "data"),
                    "--exec-root", str(root / "exec"), "--pidfile", str(root / "pid"), "-H", self._socket, *options,
                ],
                env=self.environment(), stdout=log, stderr=log,
            )  # fmt: skip
        self._wait()

    @property
    def docker(self) -> str:
        """The path of the ``docker`` command."""
        return str(self._bin / "docker")

    @property
    def buildx(self) -> list[str]:
        """The start of a command that builds."""
        return [self.docker, "buildx", "--builder", "default", "build"]

    def environment(self) -> dict[str, str]:
        """Return the variables that Docker's commands need."""
        path = f"{self._bin}:{self._bin.parent / 'sbin'}:{os.environ['PATH']}:/usr/sbin"
        return {**os.environ, "PATH": path, "DOCKER_HOST": self._socket, "DOCKER_CONFIG": str(self._config)}

    def prune(self) -> None:
        """Throw away images and build cache."""
        for argv in (["buildx", "prune", "-af"], ["image", "prune", "-af"]):
            subprocess.run([self.docker, *argv], env=self.environment(), check=True, capture_output=True)

    def close(self) -> None:
        """Stop the daemon."""
        self._daemon.terminate()
        self._daemon.wait()

    def _wait(self) -> None:
        for _ in range(300):
            done = subprocess.run(
                [self.docker, "version"], env=self.environment(), capture_output=True, check=False
            )
            if done.returncode == 0:
                return
            if self._daemon.poll() is not None:
                break
            time.sleep(0.2)
        self._daemon.kill()
        self._daemon.wait()
        raise RuntimeError("dockerd does not start:\n" + self._log.read_text()[-3000:])


def unpack(folder: Path) -> Path:
    """Return the ``usr/bin`` of Docker's packages, downloading and unpacking them once."""
    binaries = folder / "root" / "usr" / "bin"
    if binaries.exists():
        return binaries
    lists = folder / "lists"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    (folder / "sources.list").write_text(
        f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {debian_mirror()[0]} {SUITE} main\n"
    )
    options = [
        "-o", f"Dir::Etc::sourcelist={folder}/sources.list", "-o", "Dir::Etc::sourceparts=-",
        "-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache::pkgcache={folder}/pkgcache.bin",
        "-o", f"Dir::Cache::srcpkgcache={folder}/srcpkgcache.bin", "-o", "APT::Sandbox::User=root",
    ]  # fmt: skip
    subprocess.run(["apt-get", *options, "update", "-qq"], check=True)
    subprocess.run(["apt-get", *options, "download", "-qq", *PACKAGES], check=True, cwd=folder)
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
