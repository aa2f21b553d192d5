# SPDX-License-Identifier: Apache-2.0
"""Code shared by ``build`` and ``llb run``: flags for outputs and entitlements, the engine with its display, the report."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click

from llbkit.cli.failure import causes
from llbkit.cli.flags import key_values, secret, ssh
from llbkit.cli.process import Signalled, signals
from llbkit.progress import MODES, open_display
from llbkit.progress.summary import Summary
from llbkit.records import dataclass
from llbkit.request.csvflags import FlagError
from llbkit.request.values import Output
from llbkit.solver.events import Event, Progress, VertexWarning

if TYPE_CHECKING:
    from llbkit.engine.embedded import Engine
    from llbkit.engine.solution import Solution
    from llbkit.request.values import BuildOutcome

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(dir_okay=False, path_type=Path)
_RESULT_FLAGS: tuple[Callable[[F], F], ...] = (
    click.option(
        "--tag", "-t", "tags", multiple=True, metavar="NAME[:TAG]", help="Name and tag of the image."
    ),
    click.option(
        "--output",
        "-o",
        "outputs",
        multiple=True,
        metavar="SPEC",
        help="Output: type=local|tar|oci|docker|image|registry,...",
    ),
    click.option("--push", is_flag=True, help="Shorthand for --output=type=registry."),
    click.option("--load", is_flag=True, help="Shorthand for --output=type=image (the local store)."),
    click.option(
        "--secret",
        "secrets",
        multiple=True,
        metavar="id=ID[,src=FILE|,env=VAR]",
        help="Secret to expose to RUN steps.",
    ),
    click.option(
        "--ssh",
        "agents",
        multiple=True,
        metavar="default|ID[=SOCKET|KEY]",
        help="SSH agent or keys to expose to RUN steps.",
    ),
    click.option(
        "--allow",
        multiple=True,
        metavar="ENTITLEMENT",
        help="Allow an entitlement: network.host, security.insecure or device.",
    ),
    click.option(
        "--annotation",
        "annotations",
        multiple=True,
        metavar="[TYPE:]K=V",
        help="Add an annotation to the image.",
    ),
)
_REPORT_FLAGS: tuple[Callable[[F], F], ...] = (
    click.option("--metadata-file", type=_FILE, help="Write the build result to a file as JSON."),
    click.option("--iidfile", type=_FILE, help="Write the image id to a file."),
)
_PROGRESS_FLAGS: tuple[Callable[[F], F], ...] = (
    click.option(
        "--progress",
        type=click.Choice(MODES),
        envvar="BUILDKIT_PROGRESS",
        default="auto",
        help="Type of progress output.",
    ),
    click.option("--quiet", "-q", is_flag=True, help="Print the image id only."),
)


def result_flags(function: F) -> F:
    """Add the flags that say what becomes of the result, and what steps may use."""
    return _with(function, _RESULT_FLAGS)


def report_flags(function: F) -> F:
    """Add the flags for progress and result files."""
    return _with(function, (*_REPORT_FLAGS, *_PROGRESS_FLAGS))


def progress_flags(function: F) -> F:
    """Add the flags that choose the display."""
    return _with(function, _PROGRESS_FLAGS)


def _with(function: F, flags: Sequence[Callable[[F], F]]) -> F:
    for option in reversed(flags):
        function = option(function)
    return function


def mode_of(values: Mapping[str, Any]) -> str:
    """Return the display that the flags ask for."""
    return "quiet" if values["quiet"] else str(values["progress"])


def check_files(values: Mapping[str, Any]) -> None:
    """Check that the files to report into can be written: before the build, not after.

    Raises:
        FlagError: one cannot, or its directory does not exist.
    """
    for name in ("metadata_file", "iidfile"):
        path, flag = values[name], f"--{name.replace('_', '-')}"
        if path is None:
            continue
        if not path.parent.is_dir():
            raise FlagError(f"{flag}: directory {path.parent} does not exist")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise FlagError(f"{flag}: {path} is not writable", help="choose another file")


def outputs_of(values: Mapping[str, Any], *, usual: Sequence[Output]) -> tuple[Output, ...]:
    """Return the outputs that the flags ask for; ``usual`` if they ask for none.

    Raises:
        FlagError: they do not go together.
    """
    outputs = [Output.parse(text) for text in values["outputs"]]
    if values["push"]:
        outputs.append(Output.parse("type=registry"))
    if values["load"]:
        outputs.append(Output(type="image"))
    outputs = outputs or list(usual)
    if sum(output.dest == "-" for output in outputs) > 1:
        raise FlagError("--output: only one output can go to standard output")
    places = [os.path.realpath(output.dest) for output in outputs if output.dest not in ("", "-")]
    if twice := next((place for place in places if places.count(place) > 1 and not _special(place)), None):
        raise FlagError(
            f"--output: several outputs are written to {twice}", help="use a different dest for each"
        )
    if sys.stdout.isatty() and any(output.dest == "-" for output in outputs):
        raise FlagError(
            "--output: refusing to write an archive to a terminal", help="add dest=FILE, or redirect"
        )
    if values["iidfile"] and all(output.type in ("local", "tar", "cacheonly") for output in outputs):
        raise FlagError(
            "--iidfile: local and tar outputs have no image id", help="add an output with an image"
        )
    extra = _annotations(values["annotations"])
    return tuple(replace(output, attrs={**extra, **output.attrs}) for output in outputs)


def _special(path: str) -> bool:
    """Return whether a path is a device or a pipe, which takes one output after the other."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def local_inputs(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the flags bring along, as fields of a `BuildRequest`: secrets, agents, rights, names.

    Raises:
        FlagError: a value is malformed, or refers to something that does not exist.
    """
    return {
        "secrets": dict(secret(text) for text in values["secrets"]),
        "ssh": dict(ssh(text) for text in values["agents"]),
        "allow": _entitlements(values),
        "names": tuple(_tag(text) for text in values["tags"]),
    }


def _tag(text: str) -> str:
    """Return a tag's whole name, with registry and tag."""
    from llbkit.llb.address.reference import InvalidReferenceError, parse

    try:
        return str(parse(text).with_default_tag())
    except InvalidReferenceError as error:
        raise FlagError(f"--tag: invalid tag {text!r}: {error}", help=error.help) from None


def _entitlements(values: Mapping[str, Any]) -> frozenset[str]:
    allowed = {part for text in values["allow"] for part in text.split(",") if part}
    for right in allowed:
        if right.partition("=")[0] not in ("network.host", "security.insecure", "device"):
            raise FlagError(
                f"--allow: unknown entitlement {right!r}",
                help="valid entitlements: network.host, security.insecure, device",
            )
    if values.get("network") == "host":
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


@dataclass(frozen=True, slots=True)
class Executed(Generic[T]):
    """What a coroutine gave, and what was seen on the way: warnings, the steps, the seconds from start to end."""

    value: T
    warnings: Sequence[VertexWarning]
    summary: Summary
    seconds: float


def execute(
    root: Path | None,
    mode: str,
    main: Callable[[Engine, Progress], Coroutine[Any, Any, T]],
    *,
    repeatable: bool = False,
) -> Executed[T]:
    """Run ``main`` with an engine and a display.

    What is ``repeatable`` runs once more if the state directory's database turns out to be damaged on the way.
    """
    from llbkit.worker.state.metadata import DamagedDatabaseError

    try:
        return _execute(root, mode, main)
    except Exception as error:
        if not (repeatable and any(isinstance(one, DamagedDatabaseError) for one in causes(error))):
            raise
    return _execute(root, mode, main)


def _execute(
    root: Path | None, mode: str, main: Callable[[Engine, Progress], Coroutine[Any, Any, T]]
) -> Executed[T]:
    from llbkit.engine.embedded import Engine

    began = time.monotonic()
    warnings: list[VertexWarning] = []
    summary = Summary()
    with open_display(mode, sys.stderr) as display, Engine(root=root) as engine:

        def sink(event: Event) -> None:
            if isinstance(event, VertexWarning):
                warnings.append(event)
            summary(event)
            display(event)

        value = run_loop(main(engine, sink))
    return Executed(value, warnings, summary, time.monotonic() - began)


@contextmanager
def scratch_directory(root: Path | None) -> Iterator[Path]:
    """Make a temporary directory in the state directory that ``--root`` or the settings name.

    Raises:
        ConfigError: the settings cannot be used.
        StorageError: the state directory cannot be used.
    """
    from llbkit import config
    from llbkit.worker.state.directory import scratch_below

    with scratch_below(config.load(root=root).root) as path:
        yield path


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine. A signal cancels it, so that containers and mounts are cleaned up.

    Raises:
        Signalled: the process was sent a signal.
    """

    async def cancelled_by_signals() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None, "runs inside a task"
        with signals.cancelling(lambda: loop.call_soon_threadsafe(task.cancel)):
            return await main

    try:
        return asyncio.run(cancelled_by_signals())
    except asyncio.CancelledError:
        raise Signalled from None


def report(
    done: Executed[BuildOutcome] | Executed[Solution], outputs: Sequence[Output], values: Mapping[str, Any]
) -> None:
    """Write and print what was asked for besides the outputs."""
    response = done.value.response
    image_id = response.get("containerimage.config.digest") or response.get("containerimage.digest", "")
    if values["metadata_file"]:
        values["metadata_file"].write_text(json.dumps(_metadata(response), indent=2) + "\n")
    if values["iidfile"]:
        values["iidfile"].write_text(image_id)
    if values["quiet"] and image_id and not any(output.dest == "-" for output in outputs):
        click.echo(image_id)
    if mode_of(values) in ("quiet", "none", "rawjson"):
        return
    if done.warnings:
        count = "1 warning" if len(done.warnings) == 1 else f"{len(done.warnings)} warnings"
        located = any(warning.spans for warning in done.warnings)
        more = " (`--check` shows them with their source lines)" if located else ""
        click.echo(f"\n {count} found{more}:", err=True)
        for warning in done.warnings:
            click.echo(f" - {warning.short}", err=True)
    lines = done.summary.lines(response, outputs, size=done.value.size, seconds=done.seconds)
    click.echo("\n" + "\n".join(lines), err=True)


def _metadata(response: Mapping[str, str]) -> dict[str, object]:
    out: dict[str, object] = dict(response)
    for key, value in response.items():
        if key.endswith(("descriptor", "manifest")):
            try:
                out[key] = json.loads(value if value.startswith("{") else base64.b64decode(value))
            except ValueError:
                out[key] = value
    return dict(sorted(out.items()))
