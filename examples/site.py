# SPDX-License-Identifier: Apache-2.0
"""An image made by a program, without a Dockerfile: ``python examples/site.py site.tar``.

docs/llb.md goes through it step by step. It needs Debian's busybox-static, and nothing from a registry.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from llbkit import Engine, llb

HERE = Path(__file__).parent
PAGES = ("chair", "kettle", "lamp", "spoon")
CONFIG = {
    "config": {
        "Cmd": ["/bin/sh", "-c", "cat /www/index.html"],
        "Env": ["PATH=/bin"],
        "WorkingDir": "/www",
    }
}


def tools() -> llb.State:
    """Busybox from this machine, with a link for each of its commands."""
    copied = llb.scratch().copy(
        llb.local("bin", include_patterns=["busybox"]), "/busybox", "/bin/", create_dest_path=True
    )
    step = copied.run(["/bin/busybox", "--install", "-s", "/bin"], name="install busybox")
    return step.root.env("PATH", "/bin")


def page(base: llb.State, name: str) -> llb.State:
    """One page, made by a process that sees the sources and may write to /out only."""
    step = base.run(
        llb.sh(f"{{ echo '<h1>{name}</h1>'; cat /in/{name}.txt; }} > /out/{name}.html"),
        mounts=[
            llb.bind(llb.local("catalog", include_patterns=[f"{name}.txt"]), "/in"),
            llb.bind(None, "/out", readonly=False),
        ],
        readonly_root=True,
        name=f"write {name}.html",
    )
    return step.at("/out")


def site() -> llb.State:
    """The whole file system: the tools, and the pages, which are written at the same time."""
    base = tools()
    folders = [
        llb.scratch().copy(page(base, name), "/", "/www", dir_contents=True, create_dest_path=True)
        for name in PAGES
    ]
    index = "".join(f'<a href="{name}.html">{name}</a>\n' for name in PAGES)
    return llb.merge([base, *folders]).mkfile("/www/index.html", index, name="write the index")


async def main(archive: str) -> None:
    """Build the image, write it, and show one of its files."""
    with Engine() as engine:
        solution = await engine.solve(
            site().graph(),
            locals={"bin": "/bin", "catalog": HERE / "shop" / "catalog"},
            outputs=[f"type=oci,dest={archive}"],
            names=["site:1"],
            config=CONFIG,
        )
        print((await solution.read_file("/www/lamp.html")).decode(), end="")
        print(solution.response["containerimage.digest"], "in", archive)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/site.py ARCHIVE")
    asyncio.run(main(sys.argv[1]))
