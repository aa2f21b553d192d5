# SPDX-License-Identifier: Apache-2.0
"""The main job as a story: make a base, build examples/shop, run it, build it again, change one file.

Everything happens below a temporary directory: state, registry, sources. Run it with ``make demo``.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
LLBKIT = Path(sys.executable).with_name("llbkit")


def say(text: str) -> None:
    print(f"\n\033[1m== {text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def run(*argv: str | Path) -> float:
    """Show a command, run it, return its seconds."""
    shown = ["llbkit" if part == LLBKIT else str(part) for part in argv]
    print("$ " + shlex.join(shown), flush=True)
    began = time.monotonic()
    subprocess.run([str(part) for part in argv], check=True)
    return time.monotonic() - began


@contextmanager
def registry(work: Path):
    """Run Debian's docker-registry on a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    config = work / "registry.yml"
    storage = work / "registry"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {storage}}}}}\nhttp: {{addr: {address}}}\n"
    )
    log = (work / "registry.log").open("wb")
    server = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
    try:
        for _ in range(200):
            try:
                socket.create_connection(tuple(address.split(":")), 1).close()
                break
            except OSError:
                if server.poll() is not None:
                    sys.exit(f"docker-registry ended: {(work / 'registry.log').read_text()}")
                time.sleep(0.05)
        yield address
    finally:
        server.terminate()
        server.wait()


def show_archive(path: Path) -> None:
    """Say what is in an OCI archive, with nothing but tar and JSON."""
    import tarfile

    with tarfile.open(path) as archive:

        def blob(digest: str) -> dict:
            return json.load(archive.extractfile("blobs/" + digest.replace(":", "/")))

        manifest = blob(json.load(archive.extractfile("index.json"))["manifests"][0]["digest"])
        config = blob(manifest["config"]["digest"])
    size = sum(layer["size"] for layer in manifest["layers"])
    print(
        f"{path.name}: {len(manifest['layers'])} layers, {size / 1e6:.2f} MB, cmd {config['config']['Cmd']}"
    )


def run_image(root: Path, layout: Path) -> None:
    """Start the built image once, through the library: its command is one more step on top of it."""
    from llbkit import Engine, llb
    from llbkit.solver.events import VertexLog

    def show(event) -> None:
        if isinstance(event, VertexLog):
            sys.stdout.write("| " + event.data.decode().replace("\n", "\n| ").removesuffix("| "))

    index = json.loads((layout / "index.json").read_bytes())
    digest = index["manifests"][0]["digest"]
    manifest = json.loads((layout / "blobs" / digest.replace(":", "/")).read_bytes())
    config = json.loads((layout / "blobs" / manifest["config"]["digest"].replace(":", "/")).read_bytes())[
        "config"
    ]
    state = llb.oci_layout(f"shop@{digest}", store_id="shop").dir(config["WorkingDir"]).user(config["User"])
    for name, value in (pair.split("=", 1) for pair in config["Env"]):
        state = state.env(name, value)
    step = state.run(config["Cmd"], ignore_cache=True)
    with Engine(root=root) as engine:
        print(f"runtime: {engine.runtime_name}")
        asyncio.run(engine.solve(step.root.graph(), oci_stores={"shop": layout}, progress=show))


def main() -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="llbkit-demo-") as temporary:
        work = Path(temporary)
        with registry(work) as address:
            story(work, f"{address}/busybox:1", [LLBKIT, "--root", work / "state"])
    print(f"\ndone in {time.monotonic() - began:.1f} s")


def story(work: Path, base: str, llbkit: list) -> None:
    say("1. A base image from one static binary, pushed to a registry on this machine")
    shutil.copytree(HERE / "base", work / "base")
    shutil.copy("/bin/busybox", work / "base" / "busybox")
    run(*llbkit, "build", "--progress=plain", "-t", base, "--push", work / "base")

    say("2. The shop: two stages in parallel, a cache mount, a secret; written as an OCI archive")
    shop = shutil.copytree(HERE / "shop", work / "shop")
    key = work / "signing-key"
    key.write_text("a key that no layer may hold\n")
    archive, layout = work / "shop.tar", work / "shop-layout"
    flags = ["--build-arg", f"BASE={base}", "--secret", f"id=signing-key,src={key}"]
    build = [*llbkit, "build", *flags, "-t", "shop:1", "-o", f"type=oci,dest={archive}"]
    first = run(*build, "--progress=plain", "-o", f"type=oci,dest={layout},tar=false", shop)
    show_archive(archive)
    if b"a key that no layer may hold" in archive.read_bytes():
        sys.exit("the secret is in the archive")

    say("3. Run it once")
    run_image(llbkit[2], layout)

    say("4. The same again: nothing is executed, nothing is pulled")
    second = run(*build, "--progress=plain", shop)

    say(
        "5. One source file changes: only what depends on it runs, and unchanged pages come from the cache mount"
    )
    page = shop / "catalog" / "spoon.txt"
    page.write_text(page.read_text().replace("3.2", "3.4"))
    third = run(*build, "--progress=plain", shop)
    print(f"\nfirst build {first:.2f} s, unchanged {second:.2f} s, one file changed {third:.2f} s")


if __name__ == "__main__":
    main()
