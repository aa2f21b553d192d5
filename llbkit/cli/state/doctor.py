# SPDX-License-Identifier: Apache-2.0
"""``llbkit doctor``: check the host's prerequisites."""

from __future__ import annotations

import os
import platform
import shutil

import click

from llbkit.cli.failure import ENVIRONMENT


@click.command("doctor")
@click.pass_context
def command(ctx: click.Context, /) -> int:
    """Check this host and show how to fix what is missing. Exits with 3 if builds cannot run."""
    from llbkit.engine.embedded import Engine
    from llbkit.worker.base import WorkerError
    from llbkit.worker.host.pools import can_mount

    lines: list[tuple[bool, str, str, str]] = []
    root_user = os.geteuid() == 0
    lines.append((True, "kernel", platform.release(), ""))
    lines.append((root_user, "user", "root" if root_user else "not root", "" if root_user else "run as root"))
    mounts = can_mount()
    lines.append(
        (
            mounts,
            "private mounts",
            "work" if mounts else "are not permitted",
            "" if mounts else "run as root, or with CAP_SYS_ADMIN",
        )
    )
    git = shutil.which("git")
    lines.append(
        (
            git is not None,
            "git",
            git or "is missing (for git sources)",
            "" if git else "apt-get install -y git",
        )
    )
    usable = root_user and mounts
    try:
        with Engine(root=ctx.obj["root"]) as engine:
            lines.append((True, "state directory", str(engine.settings.root), ""))
            free = shutil.disk_usage(engine.settings.root).free
            lines.append(
                (
                    free > 1 << 30,
                    "disk",
                    f"{free / 1e9:.1f} GB free",
                    "" if free > 1 << 30 else "llbkit prune",
                )
            )
            if mounts:
                findings = engine.worker.findings()
                lines += [(item.ok, item.name, item.detail, item.help) for item in findings]
                usable = usable and any(item.name == "OCI runtime" and item.ok for item in findings)
    except (WorkerError, OSError) as error:
        usable = False
        lines.append((False, "state directory", str(error), getattr(error, "help", "")))
    for good, name, detail, mend in lines:
        click.echo(f"{'ok  ' if good else 'FAIL'} {name}: {detail}")
        if not good and mend:
            click.echo(f"     -> {mend}")
    return 0 if usable else ENVIRONMENT
