# SPDX-License-Identifier: Apache-2.0
"""``llbkit build``: the main job."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import sys
import tempfile
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from llbkit import context as contexts
from llbkit.cli.buildx import DockerCommand, docker_flags
from llbkit.cli.flags import frontend_options, key_values, secret, source_flags, ssh
from llbkit.csvflags import FlagError
from llbkit.progress import MODES, open_display
from llbkit.request import BuildOutcome, BuildRequest, Output
from solver.events import Event, VertexWarning

T = TypeVar("T")


@click.command("build", cls=DockerCommand, short_help="Build an image.")
@click.argument("where", metavar="PATH | URL | -", default=".")
@source_flags
@click.option("--tag", "-t", "tags", multiple=True, metavar="NAME[:TAG]", help="Name of the image.")
@click.option(
    "--output",
    "-o",
    "outputs",
    multiple=True,
    metavar="SPEC",
    help="type=local|tar|oci|docker|image|registry,...",
)
@click.option("--push", is_flag=True, help="Short for --output=type=registry.")
@click.option("--load", is_flag=True, help="Short for --output=type=image: into the local store.")
@click.option(
    "--secret", "secrets", multiple=True, metavar="id=ID[,src=FILE|,env=VAR]", help="Secret for RUN."
)
@click.option("--ssh", "agents", multiple=True, metavar="default|ID[=SOCKET|KEY]", help="SSH agent for RUN.")
@click.option("--allow", multiple=True, metavar="RIGHT", help="network.host, security.insecure or device.")
@click.option(
    "--annotation", "annotations", multiple=True, metavar="[TYPE:]K=V", help="Annotation of the image."
)
@click.option(
    "--call",
    metavar="METHOD",
    default="build",
    help="build, check, outline, targets, convertllb or subrequests.describe [,format=json][,ignorestatus=true].",
)
@click.option("--check", is_flag=True, help="Short for --call=check.")
@click.option(
    "--metadata-file", type=click.Path(dir_okay=False, path_type=Path), help="Write the result as JSON."
)
@click.option("--iidfile", type=click.Path(dir_okay=False, path_type=Path), help="Write the image id.")
@click.option(
    "--progress", type=click.Choice(MODES), envvar="BUILDKIT_PROGRESS", default="auto", help="Display."
)
@click.option("--quiet", "-q", is_flag=True, help="Print the image id only.")
@docker_flags
@click.pass_context
def command(ctx: click.Context, /, where: str, **values: Any) -> int:
    """Build an image from a Dockerfile or another language.

    Without --output the image goes to the local store (see `llbkit images`).
    """
    from llbkit.cli.calls import Call, show

    call = Call.parse("check" if values["check"] else values["call"])
    for flag in ("metadata_file", "iidfile"):
        if values[flag] and not values[flag].parent.is_dir():  # told before the build, not after
            raise FlagError(f"--{flag.replace('_', '-')}: there is no directory {values[flag].parent}")
    with tempfile.TemporaryDirectory(prefix="llbkit-") as scratch:
        request = _request(where, values, Path(scratch))
        if call.request:
            options = {**request.options, "requestid": call.request}
            request = replace(request, options=options, outputs=(Output(type="cacheonly"),))
        mode = "quiet" if values["quiet"] or call.request else values["progress"]
        outcome, warnings = _run(ctx.obj["root"], request, mode)
        if call.request:
            return show(call, outcome, _dockerfile(request, Path(scratch)))
    _report(outcome, request, warnings, values, mode)
    return 0


def _request(where: str, values: dict[str, Any], scratch: Path) -> BuildRequest:
    named = key_values("--build-context", values["contexts"])
    found = contexts.resolve(where, values["dockerfile"], named, stdin=sys.stdin.buffer, scratch=scratch)
    outputs = [Output.parse(text) for text in values["outputs"]]
    if values["push"]:
        outputs.append(Output.parse("type=registry"))
    if values["load"] or not outputs:
        outputs.append(Output(type="image"))
    if sum(output.dest == "-" for output in outputs) > 1:
        raise FlagError("--output: only one output can go to standard output")
    if sys.stdout.isatty() and any(output.dest == "-" for output in outputs):
        raise FlagError(
            "--output: refusing to write an archive to a terminal", help="add dest=FILE, or redirect"
        )
    if values["iidfile"] and all(output.type in ("local", "tar", "cacheonly") for output in outputs):
        raise FlagError(
            "--iidfile: local and tar outputs have no image id", help="add an output with an image"
        )
    extra = _annotations(values["annotations"])
    return BuildRequest(
        frontend=values["frontend"],
        options={**found.options, **frontend_options(values)},
        locals=found.locals,
        oci_stores=found.oci_stores,
        inputs=found.inputs,
        downloads=found.downloads,
        secrets=dict(secret(text) for text in values["secrets"]),
        ssh=dict(ssh(text) for text in values["agents"]),
        allow=_entitlements(values),
        outputs=tuple(replace(output, attrs={**extra, **output.attrs}) for output in outputs),
        names=tuple(_tag(text) for text in values["tags"]),
    )


def _dockerfile(request: BuildRequest, scratch: Path) -> Path | None:
    """Return where the Dockerfile lies; None if it came from elsewhere."""
    folder = request.locals.get("dockerfile")
    if folder is None or folder.resolve().is_relative_to(scratch.resolve()):
        return None
    return folder / request.options.get("filename", "Dockerfile")


def _tag(text: str) -> str:
    """Return a tag's whole name, with registry and tag."""
    from llb.reference import InvalidReferenceError, parse

    try:
        return str(parse(text).with_default_tag())
    except InvalidReferenceError as error:
        raise FlagError(f"--tag: invalid tag {text!r}: {error}", help=error.help) from None


def _entitlements(values: dict[str, Any]) -> frozenset[str]:
    allowed = {part for text in values["allow"] for part in text.split(",") if part}
    for right in allowed:
        if right.partition("=")[0] not in ("network.host", "security.insecure", "device"):
            raise FlagError(
                f"--allow: there is no right {right!r}",
                help="rights are network.host, security.insecure, device",
            )
    if values["network"] == "host":
        allowed.add("network.host")
    return frozenset(allowed)


def _annotations(items: tuple[str, ...]) -> dict[str, str]:
    out = {}
    for key, value in key_values("--annotation", items).items():
        types, colon, name = key.partition(":")
        if not colon:
            out[f"annotation.{key}"] = value
            continue
        for kind in types.split(","):
            out[f"annotation-{kind}.{name}"] = value
    return out


def _run(root: Path | None, request: BuildRequest, mode: str) -> tuple[BuildOutcome, list[VertexWarning]]:
    from llbkit.engine import Engine

    warnings: list[VertexWarning] = []
    with open_display(mode, sys.stderr) as display, Engine(root=root) as engine:

        def sink(event: Event) -> None:
            if isinstance(event, VertexWarning):
                warnings.append(event)
            display(event)

        return run_loop(engine.build(request, progress=sink, stdout=sys.stdout.buffer)), warnings


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine; SIGTERM ends it as Ctrl-C does, so that containers and mounts are cleaned up."""

    async def guarded() -> T:
        with _terminated_as_interrupt():
            return await main

    return asyncio.run(guarded())


@contextmanager
def _terminated_as_interrupt() -> Iterator[None]:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None, "runs inside a task"
    try:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    except (
        NotImplementedError,
        RuntimeError,
        ValueError,
    ):  # not the main thread: the host program owns signals
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def _report(
    outcome: BuildOutcome,
    request: BuildRequest,
    warnings: list[VertexWarning],
    values: dict[str, Any],
    mode: str,
) -> None:
    response = outcome.response
    image_id = response.get("containerimage.config.digest") or response.get("containerimage.digest", "")
    if values["metadata_file"]:
        values["metadata_file"].write_text(json.dumps(_metadata(response), indent=2) + "\n")
    if values["iidfile"]:
        values["iidfile"].write_text(image_id)
    if values["quiet"] and image_id and not any(output.dest == "-" for output in request.outputs):
        click.echo(image_id)
    if mode in ("quiet", "none", "rawjson"):
        return
    if warnings:
        count = "1 warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
        click.echo(f"\n {count} found (`--check` shows them with their source lines):", err=True)
        for warning in warnings:
            click.echo(f" - {warning.short}", err=True)


def _metadata(response: Mapping[str, str]) -> dict[str, object]:
    out: dict[str, object] = dict(response)
    for key, value in response.items():
        if key.endswith(("descriptor", "manifest")):
            try:
                out[key] = json.loads(value if value.startswith("{") else base64.b64decode(value))
            except ValueError:
                out[key] = value
    return dict(sorted(out.items()))
