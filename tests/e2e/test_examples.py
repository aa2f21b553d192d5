# SPDX-License-Identifier: Apache-2.0
"""The programs under examples/ do what the documents say."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_an_image_from_a_program(cli, tmp_path) -> None:
    archive = tmp_path / "site.tar"
    command = [sys.executable, EXAMPLES / "site.py", archive]
    environment = {**cli.env(), "LLBKIT_ROOT": str(cli.root)}
    first = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert first.startswith("<h1>lamp</h1>\n")
    with tarfile.open(archive) as opened:
        index = json.load(opened.extractfile("index.json"))
        manifest = json.load(opened.extractfile(f"blobs/{index['manifests'][0]['digest'].replace(':', '/')}"))
        config = json.load(opened.extractfile(f"blobs/{manifest['config']['digest'].replace(':', '/')}"))
    assert config["config"]["Cmd"] == ["/bin/sh", "-c", "cat /www/index.html"]
    assert len(manifest["layers"]) == 7  # busybox, its links, four pages, the index
    assert (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout == first
    )
