# SPDX-License-Identifier: Apache-2.0
"""Time every question with every peer and print a table of medians and ratios.

    python -m bench [--only TEXT] [--runs N] [--peers llbkit,buildkit,buildah] [--json FILE] [--disk]

Every peer's state lies on one tmpfs, which goes at the end: on ext4 new files cost many times more for minutes after a tree
was deleted, so a peer would pay for what another cleaned up. What is slow to get is kept below /var/tmp/llbkit-bench.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.cases import CASES, push_debian
from bench.peers import Buildah, Docker, Llbkit, Peer

PACKAGES = ("buildah", "mmdebstrap", "iptables")


@contextmanager
def work_folder(folder: Path, *, disk: bool) -> Iterator[Path]:
    """Give a folder for all state: an empty tmpfs mounted there, or what the disk holds."""
    folder.mkdir(parents=True, exist_ok=True)
    if disk:
        yield folder
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=75%", "llbkit-bench", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def registry(work: Path) -> Iterator[str]:
    """Serve a registry on a free loopback port; its storage stays."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    (work / "registry.yml").write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {work / 'registry'}}}}}\nhttp: {{addr: {address}}}\n"
    )
    server = subprocess.Popen(
        ["docker-registry", "serve", str(work / "registry.yml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) == 0:
                    break
            time.sleep(0.05)
        yield address
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="only questions whose name holds this text")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peers", default="llbkit,buildkit,buildah")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--disk", action="store_true", help="keep state on the disk instead of a tmpfs")
    arguments = parser.parse_args()
    missing = [
        name
        for name in PACKAGES
        if subprocess.run(["dpkg", "-s", name], capture_output=True, check=False).returncode
    ]
    if missing:
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], check=True)
    with ExitStack() as stack:
        work = stack.enter_context(work_folder(Path("/var/tmp/llbkit-bench/work"), disk=arguments.disk))
        address = stack.enter_context(registry(work))
        push_debian(address, work)
        peers = open_peers(arguments.peers.split(","), work, address)
        for peer in peers:
            stack.callback(peer.close)
        results = measure(peers, work, address, arguments.only, arguments.runs)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def open_peers(names: list[str], work: Path, address: str) -> list[Peer]:
    makers = {
        "llbkit": lambda: Llbkit(work),
        "buildkit": lambda: Docker(work, address),
        "buildah": lambda: Buildah(work),
    }
    return [makers[name]() for name in names]


def measure(
    peers: list[Peer], work: Path, address: str, only: str, runs: int
) -> dict[str, dict[str, list[float]]]:
    names = [peer.name for peer in peers]
    others = [name for name in names if name != "llbkit"]
    ratios = [f"llbkit/{name}" for name in others] if "llbkit" in names else []
    print("| question | " + " | ".join([*(f"{name} (s)" for name in names), *ratios]) + " |")
    print("|---" * (1 + len(names) + len(ratios)) + "|", flush=True)
    results: dict[str, dict[str, list[float]]] = {}
    for case in CASES:
        if only not in case.name:
            continue
        build = case.prepare(work, address)
        times: dict[str, list[float]] = {name: [] for name in names}
        # Peers take turns within each run, so that a slow moment of the machine does not hit one alone.
        for run in range(runs):
            for peer in peers:
                times[peer.name].append(case.time(peer, build, run))
        results[case.name] = times
        medians = {name: statistics.median(values) for name, values in times.items()}
        cells = [f"{medians[name]:.2f}" for name in names]
        cells += [f"{medians['llbkit'] / medians[name]:.2f}" for name in others if ratios]
        print(f"| {case.name} | " + " | ".join(cells) + " |", flush=True)
    return results


if __name__ == "__main__":
    main()
