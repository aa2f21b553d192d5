# SPDX-License-Identifier: Apache-2.0
"""A real registry on loopback: Debian's docker-registry with a storage of its own."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CONFIG = """version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}", {http}}}
{extra}
"""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def registry(directory: Path, *, http: str = "", extra: str = "") -> Iterator[str]:
    """Run a registry and give its ``host:port``. ``http`` and ``extra`` are further settings, as YAML."""
    directory.mkdir(exist_ok=True)
    port = free_port()
    config = directory / "registry.yml"
    config.write_text(_CONFIG.format(root=directory / "storage", port=port, http=http, extra=extra))
    with (directory / "registry.log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None:
                raise RuntimeError((directory / "registry.log").read_text())
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
