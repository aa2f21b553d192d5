# SPDX-License-Identifier: Apache-2.0
"""SOURCE_DATE_EPOCH: a number, or what has one source: the main context, a named context or a part of the program.

Source: BuildKit's frontend (``docker/dockerfile`` 1.26).
"""

from __future__ import annotations

import asyncio
import errno
import io
from collections.abc import Callable
from dataclasses import field
from datetime import UTC, datetime

from llbkit.frontends.base import Bridge, Ref, ResolveError, solve_state
from llbkit.frontends.kit.errors import texts as errors
from llbkit.frontends.kit.golang.text import parse_int
from llbkit.frontends.kit.inputs.contexts import Contexts, NamedContext
from llbkit.frontends.kit.inputs.gitref import is_http
from llbkit.llb.builder.options import Constraints
from llbkit.llb.builder.sources import SourceNode, state_of
from llbkit.llb.builder.state import State
from llbkit.llb.ir.ops import Source
from llbkit.records import dataclass

NAME = "SOURCE_DATE_EPOCH"
_PIECE = 1 << 20


@dataclass(slots=True)
class SourceTimes:
    """When sources were made, each asked for once; shared by all platforms of a build."""

    bridge: Bridge
    _states: dict[str, State] = field(default_factory=dict)
    _known: dict[tuple[object, ...], datetime | None] = field(default_factory=dict)
    _locks: dict[tuple[object, ...], asyncio.Lock] = field(default_factory=dict)

    async def loaded(self, context: NamedContext) -> State:
        """Return what a named context stands for.

        Raises:
            ProgramError: it is malformed, or cannot be found.
        """
        async with self._locks.setdefault((context.key,), asyncio.Lock()):
            if context.key not in self._states:
                self._states[context.key], _ = await context.loaded({"/"})
        return self._states[context.key]

    async def time_of(self, state: State, what: str) -> datetime | None:
        """Return when the one source of a state was made; None if it has none or several, or none that knows.

        Raises:
            ProgramError: the source cannot be reached, or what it says is malformed.
        """
        graph = state.graph(platform=self.bridge.build_platforms[0], caps=self.bridge.caps)
        sources = [vertex.op for vertex in graph if isinstance(vertex.op, Source)]
        if len(sources) != 1:
            return None
        (source,) = sources
        key = (source.identifier, *sorted(source.attrs.items()), what)
        async with self._locks.setdefault(key, asyncio.Lock()):
            if key not in self._known:
                self._known[key] = await self._ask(source, what)
        return self._known[key]

    async def _ask(self, source: Source, what: str) -> datetime | None:
        from llbkit.frontends.kit.inputs.archive_times import ArchiveError
        from llbkit.frontends.kit.inputs.commits import CommitError, committer_time

        try:
            answer = await self.bridge.resolve_source(
                source.identifier, source.attrs, log_name=f"[internal] resolve {what}"
            )
            if answer.commit_object:
                return committer_time(answer.commit_object)
            if answer.last_modified is not None:
                return _utc(int(answer.last_modified))
            filename = source.attrs.get("http.filename", "")
            if is_http(source.identifier) and filename:
                return await self._newest(source, filename)
        except (ResolveError, CommitError, ArchiveError, _RangeError) as error:
            raise errors.option(str(error), str(getattr(error, "help", ""))) from error
        return None

    async def _newest(self, source: Source, filename: str) -> datetime | None:
        """Return the newest time in an archive that a server gives no time for."""
        from llbkit.frontends.kit.inputs.archive_times import newest_time

        node = SourceNode(
            identifier=source.identifier, attrs=source.attrs, caps=(), constraints=Constraints()
        )
        ref = await solve_state(self.bridge, state_of(node))
        file = _Remote(ref, filename, asyncio.get_running_loop())
        try:
            seconds = await asyncio.to_thread(newest_time, io.BufferedReader(file, _PIECE))
        finally:
            file.stop()  # if this task is cancelled, the thread is not
        return _utc(seconds) if seconds is not None else None


class _RangeError(ValueError):
    """A time is in no year that can be written."""


def _utc(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        raise _RangeError(f"time out of range: {seconds} seconds since 1970") from None


class _Remote(io.RawIOBase):
    """A file of a result, read from another thread."""

    def __init__(self, ref: Ref, path: str, loop: asyncio.AbstractEventLoop) -> None:
        self._ref = ref
        self._path = path
        self._loop = loop
        self._at = 0
        self._stopped = False

    def stop(self) -> None:
        """Have the next read fail."""
        self._stopped = True

    def readable(self) -> bool:
        """It can be read."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read the next bytes."""
        if self._stopped:
            raise OSError(errno.ECANCELED, "read canceled")
        view = memoryview(buffer)  # type: ignore[arg-type]
        reading = self._ref.read_file(self._path, offset=self._at, length=len(view))
        data = asyncio.run_coroutine_threadsafe(reading, self._loop).result()
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


async def moment_of(
    value: str,
    contexts: Contexts,
    times: SourceTimes,
    part: Callable[[str], State | None] = lambda name: None,
) -> datetime | None:
    """Return the time that a value of SOURCE_DATE_EPOCH stands for; None if there is none.

    ``part`` returns what a part of the program loads (a Dockerfile's stage), by its name.

    Raises:
        ProgramError: not a number, and names nothing whose time can be found.
    """
    if not value:
        return None
    seconds = parse_int(value)
    if seconds is not None:
        try:
            return _utc(seconds)
        except _RangeError:
            raise errors.epoch(value) from None
    if value == "context":
        return await times.time_of(await contexts.main({"/"}), "main build context metadata")
    context = contexts.named(value, None)
    if context is not None:
        return await times.time_of(await times.loaded(context), f"{NAME} named context {value}")
    state = part(value)
    if state is None:
        raise errors.epoch(value)
    return await times.time_of(state, f"{NAME} source stage {value}")
