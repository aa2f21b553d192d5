# SPDX-License-Identifier: Apache-2.0
"""``llbkit run``: run a command in an image."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llbkit.cli.execute import execute
from llbkit.cli.flags import host
from llbkit.request.csvflags import FlagError

if TYPE_CHECKING:
    from llbkit.llb import Platform
    from llbkit.llb.ir.ops import HostIP
    from llbkit.worker.runtime.process import Attached
    from llbkit.worker.runtime.spec import MountSpec


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.argument("image")
@click.argument("words", metavar="[COMMAND] [ARG]...", nargs=-1, type=click.UNPROCESSED)
@click.option("--interactive", "-i", is_flag=True, help="Connect standard input.")
@click.option("--tty", "-t", is_flag=True, help="Allocate a pseudo-TTY.")
@click.option(
    "--env", "-e", "environment", multiple=True, metavar="K[=V]", help="Set an environment variable."
)
@click.option(
    "--env-file",
    "env_files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read environment variables from a file, one K=V per line.",
)
@click.option(
    "--volume", "-v", "volumes", multiple=True, metavar="HOST:DEST[:ro]", help="Bind mount a host path."
)
@click.option("--tmpfs", multiple=True, metavar="DEST", help="Mount a tmpfs directory.")
@click.option("--workdir", "-w", default="", metavar="DIR", help="Working directory.")
@click.option("--user", "-u", default="", metavar="USER[:GROUP]", help="User to run as.")
@click.option("--entrypoint", metavar="COMMAND", help="Override the entrypoint of the image.")
@click.option("--hostname", "-h", default="", metavar="NAME", help="Host name of the container.")
@click.option("--add-host", "hosts", multiple=True, metavar="HOST:IP", help="Add a host to /etc/hosts.")
@click.option(
    "--network", type=click.Choice(["host", "none"]), default="host", help="Network mode.  [default: host]"
)
@click.option("--read-only", "readonly", is_flag=True, help="Mount the root filesystem read-only.")
@click.option("--privileged", is_flag=True, help="Grant all capabilities to the command.")
@click.option("--platform", metavar="OS/ARCH", help="Platform of the image.")
@click.option(
    "--pull",
    type=click.Choice(["missing", "always", "never"]),
    default="missing",
    help="When to pull the image.  [default: missing]",
)
@click.option("--rm", is_flag=True, hidden=True, expose_value=False)  # what we do anyway
@click.option("--name", hidden=True, expose_value=False)  # there is nothing to name once it has ended
@click.option("--init", is_flag=True, hidden=True, expose_value=False)
@click.option("--detach", "-d", is_flag=True, hidden=True)
@click.option("--publish", "-p", multiple=True, hidden=True)
@click.pass_context
def command(ctx: click.Context, /, image: str, words: tuple[str, ...], **values: Any) -> int:
    """Run a command in an image, in the foreground; changes are discarded.

    IMAGE is a local image's name or id, or is pulled. The exit code is the command's.
    """
    from llbkit.engine.running import RunRequest
    from llbkit.llb.ir.ops import NetMode
    from llbkit.worker.base import ExecError

    _refuse(values)
    entrypoint = values["entrypoint"]
    request = RunRequest(
        image=image,
        command=words,
        entrypoint=None if entrypoint is None else ((entrypoint,) if entrypoint else ()),
        env=_environment(values["environment"], values["env_files"]),
        workdir=values["workdir"],
        user=values["user"],
        hostname=values["hostname"],
        hosts=tuple(_host_ip(text) for text in values["hosts"]),
        binds=tuple(_bind(text) for text in values["volumes"]),
        tmpfs=tuple(text.partition(":")[0] for text in values["tmpfs"]),
        network=NetMode.NONE if values["network"] == "none" else NetMode.UNSET,
        privileged=values["privileged"],
        readonly=values["readonly"],
        platform=_platform(values["platform"]),
        pull=values["pull"],
    )
    attached = _attached(values)
    try:
        code = execute(
            ctx.obj["root"], "quiet", lambda engine, sink: engine.run(request, attached, progress=sink)
        ).value
    except ExecError as error:  # the runtime has said why
        return error.exit_code
    return code


def _refuse(values: dict[str, Any]) -> None:
    if values["detach"]:
        raise FlagError("--detach: commands run in the foreground only", help="remove it")
    if values["publish"]:
        raise FlagError(
            "--publish: ports cannot be published", help="remove it: the command uses the host's network"
        )
    if values["tty"] and not os.isatty(0):
        raise FlagError("--tty: standard input is not a terminal", help="remove -t")


def _attached(values: dict[str, Any]) -> Attached:
    from llbkit.worker.runtime.process import Attached

    sys.stdout.flush()
    stdin = 0 if values["interactive"] or values["tty"] else None
    return Attached(stdin=stdin, stdout=1, stderr=2, terminal=values["tty"])


def _environment(items: tuple[str, ...], files: tuple[Path, ...]) -> dict[str, str]:
    lines = [line.strip() for path in files for line in path.read_text("utf-8").splitlines()]
    out: dict[str, str] = {}
    for item in [*(line for line in lines if line and not line.startswith("#")), *items]:
        key, equals, value = item.partition("=")
        if not key:
            raise FlagError(f"--env: invalid variable {item!r}", help="use NAME=VALUE or NAME")
        if equals:
            out[key] = value
        elif key in os.environ:
            out[key] = os.environ[key]
    return out


def _host_ip(text: str) -> HostIP:
    from llbkit.llb.ir.ops import HostIP

    name, _, address = host(text).partition("=")
    return HostIP(host=name, ip=address)


def _bind(text: str) -> MountSpec:
    from llbkit.worker.runtime.spec import bind

    source, _, rest = text.partition(":")
    destination, _, mode = rest.partition(":")
    if not destination.startswith("/") or mode not in ("", "ro", "rw"):
        raise FlagError(f"--volume: invalid volume {text!r}", help="use HOST:DEST or HOST:DEST:ro")
    if not source.startswith(("/", ".")):
        raise FlagError(
            f"--volume: named volumes are not supported: {source!r}", help=f"for a directory use ./{source}"
        )
    path = Path(source).absolute()
    if not path.exists():
        raise FlagError(f"--volume: {path} does not exist")
    return bind(path, destination, readonly=mode == "ro")


def _platform(text: str | None) -> Platform | None:
    from llbkit.llb.ir import platform as platforms

    try:
        return platforms.parse(text) if text else None
    except platforms.PlatformError as error:
        raise FlagError(f"--platform: {error}") from None
