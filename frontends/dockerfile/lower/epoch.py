# SPDX-License-Identifier: Apache-2.0
"""SOURCE_DATE_EPOCH: a number, or the time of the one source that a stage adds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from frontends.base import Bridge, ResolvedSource, ResolveError
from frontends.dockerfile import errors
from frontends.dockerfile.gotext import parse_int
from frontends.dockerfile.instructions import Arg, Copy
from frontends.dockerfile.lower.copy import lower_copy
from frontends.dockerfile.lower.scope import lower_arg
from frontends.dockerfile.lower.stage import SCRATCH, StageState, Step
from frontends.dockerfile.lower.stages import Stages
from llb.ops import Source

NAME = "SOURCE_DATE_EPOCH"
_COMMITTER = re.compile(rb"^committer .*> (\d+) ([+-])(\d\d)(\d\d)$", re.MULTILINE)


async def fix_epoch(stages: Stages, bridge: Bridge) -> None:
    """Read SOURCE_DATE_EPOCH from the build's arguments, or the default of the global one, and fix the time.

    Raises:
        DockerfileError: it is neither a number nor a stage that adds one HTTP or git source.
    """
    conversion = stages.conversion
    value = conversion.build_args.get(NAME) or conversion.global_args.get(NAME, "")
    if not value:
        return
    seconds = parse_int(value)
    conversion.epoch = (
        _moment(value, seconds) if seconds is not None else await _of_stage(stages, bridge, value)
    )
    text = str(int(conversion.epoch.timestamp()))
    for args in (conversion.build_args, conversion.global_args):
        if NAME in args:
            args[NAME] = text


def _moment(value: str, seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        raise errors.epoch(value) from None


async def _of_stage(stages: Stages, bridge: Bridge, name: str) -> datetime:
    state = stages.by_name(name)
    found = _source_of(state) if state is not None and state.base_name == SCRATCH else None
    if found is None:
        raise errors.epoch(name)
    log_name = f"[internal] resolve {NAME} source stage {name}"
    try:
        answer = await bridge.resolve_source(found.identifier, found.attrs, log_name=log_name)
    except ResolveError as error:
        raise errors.option(f"failed to resolve {NAME} source stage {name}: {error}") from error
    moment = _time_of(answer)
    if moment is None:
        raise errors.epoch(name)
    return moment


def _source_of(state: StageState) -> Source | None:
    """Return the one HTTP or git source that a stage adds; its steps are lowered to look, and forgotten."""
    from dataclasses import replace

    from frontends.dockerfile.check import Linter

    probe = StageState(
        conversion=replace(state.conversion, lint=Linter(), context_paths=set()),
        stage=state.stage,
        base_name=SCRATCH,
        name="",
        platform=state.conversion.target,
    )
    for command in state.stage.commands:
        if isinstance(command, Arg):
            lower_arg(probe, Step(command), command)
        elif isinstance(command, Copy) and command.is_add:
            lower_copy(probe, Step(command), command)
    graph = probe.state.graph(platform=state.conversion.target, caps=state.conversion.options.caps)
    remote = [
        vertex.op
        for vertex in graph.vertices
        if isinstance(vertex.op, Source)
        and vertex.op.identifier.startswith(("http://", "https://", "git://"))
    ]
    return remote[0] if len(remote) == 1 else None


def _time_of(answer: ResolvedSource) -> datetime | None:
    if answer.last_modified is not None:
        return datetime.fromtimestamp(answer.last_modified, UTC)
    match = _COMMITTER.search(answer.commit_object)
    if match is None:
        return None
    offset = timedelta(hours=int(match[3]), minutes=int(match[4]))
    zone = timezone(-offset if match[2] == b"-" else offset)
    return datetime.fromtimestamp(int(match[1]), zone)
