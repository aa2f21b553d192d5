# SPDX-License-Identifier: Apache-2.0
"""An SSH server for one git repository: ``python -m support.sshd REPOSITORY HOST_KEY AUTHORIZED_KEYS``.

It prints its port and serves on loopback until it is killed.
"""

from __future__ import annotations

import asyncio
import shlex
import subprocess
import sys
from typing import Any

import asyncssh


async def main(repository: str, host_key: str, authorized: str) -> None:
    """Serve ``git-upload-pack`` of the repository, whatever path is asked for, to owners of authorized keys."""

    async def serve(process: Any) -> None:
        if shlex.split(process.command)[0] != "git-upload-pack":
            return process.exit(1)
        child = await asyncio.create_subprocess_exec(
            "git", "upload-pack", repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        await process.redirect(stdin=child.stdin, stdout=child.stdout)
        return process.exit(await child.wait())

    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[host_key],
        authorized_client_keys=authorized,
        process_factory=serve,
        encoding=None,
    )
    sys.stdout.write(f"{server.get_port()}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
