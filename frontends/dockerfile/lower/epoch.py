# SPDX-License-Identifier: Apache-2.0
"""SOURCE_DATE_EPOCH in the arguments of a Dockerfile, where it may name a stage.

It is resolved for each platform before anything else is looked at, so that every stage sees the number.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from llbkit.frontends.dockerfile.lower.epoch_stage import StageArgs, source_of_stage
from llbkit.frontends.dockerfile.program.instructions import Stage
from llbkit.frontends.kit.inputs.contexts import Contexts
from llbkit.frontends.kit.inputs.epoch import NAME, SourceTimes, moment_of
from llbkit.llb.builder.state import State


async def resolve_epoch(
    stages: Sequence[Stage],
    contexts: Contexts,
    times: SourceTimes,
    build_args: dict[str, str],
    args: dict[str, str],
    scope: StageArgs,
) -> datetime | None:
    """Return the time that SOURCE_DATE_EPOCH stands for; the number takes its place in both kinds of arguments.

    Where there is no time after all, it is taken out of them. ``args`` are the global arguments.

    Raises:
        ProgramError: not a number, and names nothing whose time can be found.
    """
    value = build_args.get(NAME, args.get(NAME) or None)
    if value is None:
        return None
    moment = await moment_of(value, contexts, times, lambda name: _source_of(name, stages, scope))
    for known in (build_args, args):
        if NAME not in known:
            continue
        if moment is None:
            del known[NAME]
        else:
            known[NAME] = str(int(moment.timestamp()))
    return moment


def _source_of(name: str, stages: Sequence[Stage], scope: StageArgs) -> State | None:
    stage = next((stage for stage in stages if stage.name and stage.name == name.lower()), None)
    return source_of_stage(stage, scope) if stage is not None else None
