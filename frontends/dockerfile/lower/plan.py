# SPDX-License-Identifier: Apache-2.0
"""From stages to the state and image of a target: which stages are needed, in which order, with which sources."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from frontends.base import ResolveError
from frontends.dockerfile import errors
from frontends.dockerfile.ast import ParsedFile
from frontends.dockerfile.image import DEFAULT_PATH, Image
from frontends.dockerfile.instructions import Arg, Command, Copy, Instruction, Stage, parse_instruction
from frontends.dockerfile.lower.context import read_whole
from frontends.dockerfile.lower.copy import lower_copy
from frontends.dockerfile.lower.run import lower_run
from frontends.dockerfile.lower.simple import lower_simple
from frontends.dockerfile.lower.stage import COMMAND, Options, StageState, count_steps
from frontends.dockerfile.parse import parse
from frontends.dockerfile.words import Expansion, Mode, WordError, expand
from grammar import DiagnosticError, Source, nearest
from llb import image
from llb import platform as platforms
from llb.ops import Platform
from llb.options import At
from llb.reference import InvalidReferenceError
from llb.reference import parse as parse_reference
from llb.state import State


class Bases(Protocol):
    """Finds base images and named contexts."""

    async def image(self, ref: str, platform: Platform, log_name: str) -> tuple[str, str, bytes]:
        """Return canonical reference, digest and config. Raises ResolveError."""

    async def context(self, name: str, platform: Platform) -> tuple[State, bytes | None] | None:
        """Return the state and config of a named context, or None if there is none of that name."""


@dataclass(slots=True, kw_only=True)
class Plan:
    """The stages of a file for one platform."""

    file: ParsedFile
    stages: list[Stage]
    global_args: list[Arg]
    options: Options
    bases: Bases
    target: str
    no_cache: frozenset[str] | None
    context: State
    paths: set[str]
    states: list[StageState] = field(default_factory=list)
    misplaced: list[DiagnosticError] = field(default_factory=list)

    async def lower(self) -> StageState:
        """Lower what the target needs and return its stage.

        Raises:
            DiagnosticError: the program is wrong.
            ResolveError: a base image cannot be resolved.
        """
        self._expand_global_args()
        for number, stage in enumerate(self.stages):
            self.states.append(self._begin(number, stage))
        target = self._target()
        self._link()
        self._check_cycles()
        if self.misplaced:
            raise self.misplaced[0]
        needed = self._needed(target)
        await self._resolve_bases(needed)
        for state in needed:
            await self._lower_stage(state)
        read_whole(target.state)
        return target

    # -- arguments and stages

    def _expand_global_args(self) -> None:
        env = self.options.global_args
        for command in self.global_args:
            for key, default in command.args:
                value = self.options.build_args.get(key)
                if value is None and default is not None:
                    value = self._word(default, command).text
                if value is not None:
                    env[key] = value

    def _word(self, text: str, where: Arg | Stage) -> Expansion:
        mode = Mode(escape=self.options.escape)
        try:
            return expand(text, self.options.global_args, mode)
        except WordError as error:
            raise errors.at(where.node, str(error), code="expansion") from None

    def _begin(self, number: int, stage: Stage) -> StageState:
        base = self._word(stage.base, stage).text
        if not base:
            raise errors.at(
                stage.node,
                f"base name ({stage.base}) should not be blank",
                hint="give the ARG before FROM a default",
            )
        platform = None
        if stage.platform:
            platform = self._platform(stage)
        stage.base = base
        return StageState(
            stage=stage,
            name=stage.name or f"stage-{number}",
            platform=platform,
            options=self.options,
            paths=self.paths,
            ignore_cache=self._ignored_cache(stage, number),
        )

    def _platform(self, stage: Stage) -> Platform:
        word = self._word(stage.platform, stage)
        if not word.text:
            names = ("TARGETPLATFORM", "BUILDPLATFORM")
            missing = next(iter(sorted(word.unmatched)), "")
            raise errors.at(
                stage.node,
                f"empty platform value from expression {stage.platform}",
                suggestion=nearest(missing, names) if missing else None,
            )
        try:
            found = platforms.parse(word.text)
            # As BuildKit: a variant that nobody wrote stays open.
            open_variant = word.text.count("/") < 2 and (found.architecture, found.variant) == ("arm", "v7")
            return replace(found, variant="") if open_variant else found
        except platforms.PlatformError as error:
            raise errors.at(stage.node, f"failed to parse platform {word.text}: {error}") from None

    def _ignored_cache(self, stage: Stage, number: int) -> bool:
        if self.no_cache is None:
            return False
        return not self.no_cache or (stage.name or str(number)) in self.no_cache

    def _target(self) -> StageState:
        wanted = self.target.lower()
        if not wanted:
            return self.states[-1]
        found = self._named(wanted, len(self.states))
        if found is not None:
            return found
        names = [state.stage.name for state in self.states if state.stage.name]
        hint = f"stages are {', '.join(names)}" if names else "no stage has a name"
        known = nearest(wanted, sorted(names))
        suffix = f" (did you mean {known}?)" if known else ""
        raise errors.plain(
            f'target stage "{self.target}" could not be found{suffix}', code="no-target", hint=hint
        )

    def _named(self, name: str, before: int) -> StageState | None:
        """Return the last stage of a name before a stage, or the stage of a number."""
        for state in reversed(self.states[:before]):
            if state.stage.name and state.stage.name == name.lower():
                return state
        if name.isdigit() and int(name) < len(self.states):
            return self.states[int(name)]
        return None

    # -- edges between stages

    def _link(self) -> None:
        for number, state in enumerate(self.states):
            base = next(
                (
                    s
                    for s in reversed(self.states[:number])
                    if s.stage.name and s.stage.name == state.stage.base.lower()
                ),
                None,
            )
            state.base = base
            for index, command in enumerate(state.stage.commands):
                names = _source_names(command)
                if names:
                    state.sources[index] = [self._source(state, number, command, name) for name in names]

    def _source(self, state: StageState, number: int, command: Instruction, name: str) -> StageState | None:
        if not name:
            return None
        if "$" in name:
            raise errors.plain(
                "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope "
                "as a workaround"
            )
        if name.isdigit() and int(name) >= len(self.states):
            raise errors.plain(
                f"invalid stage index {name}", hint=f"stages count from 0 to {len(self.states) - 1}"
            )
        found = self._named(name, number)
        if found is None:
            later = next(
                (s for s in self.states[number:] if s.stage.name and s.stage.name == name.lower()), None
            )
            if later is state:
                raise errors.at(command.node, f"circular dependency detected on stage: {state.name}")
            if later is not None:
                self.misplaced.append(
                    errors.at(
                        command.node,
                        f'cannot copy from stage "{name}", '
                        f'it needs to be defined before current stage "{state.stage.name}"',
                    )
                )
                return later
            return self._implicit(command, name)
        if found is state:
            raise errors.at(command.node, f"circular dependency detected on stage: {state.name}")
        return found

    def _implicit(self, command: Instruction, name: str) -> StageState:
        """Return the stage of an image that ``--from`` names."""
        stage = Stage(node=command.node, base=name, name="", platform="")
        return StageState(
            stage=stage, name=name, platform=None, options=self.options, total=-1, implicit=True
        )

    def _check_cycles(self) -> None:
        for state in self.states:
            seen: set[StageState] = set()
            pending = list(self._below(state))
            while pending:
                item = pending.pop()
                if item is state:
                    raise errors.at(state.stage.node, f"circular dependency detected on stage: {state.name}")
                if item not in seen:
                    seen.add(item)
                    pending += self._below(item)

    @staticmethod
    def _below(state: StageState) -> list[StageState]:
        out = [state.base] if state.base is not None else []
        return out + [item for items in state.sources.values() for item in items if item is not None]

    def _needed(self, target: StageState) -> list[StageState]:
        """Return the stages the target needs, each after those it needs itself."""
        order: list[StageState] = []
        stack: list[tuple[StageState, bool]] = [(target, False)]
        while stack:
            state, expanded = stack.pop()
            if state in order:
                continue
            if expanded:
                order.append(state)
                continue
            stack.append((state, True))
            stack += [(below, False) for below in reversed(self._below(state)) if below not in order]
        return order

    # -- base images

    async def _resolve_bases(self, needed: Sequence[StageState]) -> None:
        external = [state for state in needed if state.base is None and state.stage.base != "scratch"]
        await _together([self._resolve(state) for state in external])
        for state in needed:
            if state.base is None and state.stage.base == "scratch" and not state.fixed:
                state.image = Image.empty(state.target)

    async def _resolve(self, state: StageState) -> None:
        stage = state.stage
        for name in filter(None, (stage.name, stage.base)):
            found = await self.bases.context(name, state.target)
            if found is not None:
                self._take_context(state, *found, replaced=name == stage.name)
                return
        try:
            ref = str(parse_reference(stage.base).with_default_tag())
        except InvalidReferenceError as error:
            message = f'failed to parse stage name "{stage.base}": {error.standard}'
            raise errors.at(stage.node, message, code="reference", hint=error.help) from None
        name = f"[internal] load metadata for {ref}"
        if self.options.multi:
            name = f"[{platforms.format(state.target)} internal] load metadata for {ref}"
        try:
            resolved, digest, config = await self.bases.image(ref, platforms.normalize(state.target), name)
        except ResolveError as error:
            raise ResolveError(f"{stage.base}: {error}", help=error.help) from error
        pinned = resolved if "@" in resolved or not digest else f"{resolved}@{digest}"
        state.image = self._read(state, config)
        state.base_image = state.image.encode()
        self._own(state)
        if not state.image.rootfs.get("diff_ids"):
            state.empty = True
            return
        self._base_state(state, pinned)

    def _read(self, state: StageState, config: bytes) -> Image:
        try:
            found = Image.read(config)
        except (ValueError, TypeError, AttributeError) as error:
            raise errors.at(
                state.stage.node, f"failed to parse the image config of {state.stage.base}: {error}"
            ) from None
        env = found.config.get("Env") or []
        if state.target.os != "windows" and not any(item.partition("=")[0] == "PATH" for item in env):
            found.config["Env"] = [*env, f"PATH={DEFAULT_PATH}"]
        return found

    @staticmethod
    def _own(state: StageState) -> None:
        """Make the config of the base the stage's: a platform that was asked for counts, whatever it says."""
        state.image.created = ""
        wanted = state.options.target_platform
        if state.options.implicit_target:
            wanted = state.platform or platforms.normalize(state.image.platform)
        state.image.platform = replace(
            state.image.platform,
            os=wanted.os,
            architecture=wanted.architecture,
            variant=wanted.variant,
        )

    def _base_state(self, state: StageState, pinned: str) -> None:
        # The display name needs the number of steps, which ONBUILD triggers do not change any more at this point.
        self._set_total(state, len(self.states) > 1 or self._has_implicit())
        shown = state.prefix(f"FROM {pinned}")
        state.state = image(
            pinned,
            resolve_mode=state.options.resolve_mode,
            name=shown,
            platform=state.target,
            description={COMMAND: "" if state.implicit else state.stage.node.original},
            at=[At(state.options.text, ())]
            if state.implicit and state.stage.node.keyword == "run"
            else state.place(state.stage.node),
        )

    def _has_implicit(self) -> bool:
        items = [item for state in self.states for found in state.sources.values() for item in found]
        mounts = any(
            isinstance(command, Command) and command.flags.has("mount")
            for state in self.states
            for command in state.stage.commands
        )
        return mounts or any(item is not None and item.implicit for item in items)

    def _set_total(self, state: StageState, several: bool) -> None:
        if state.total == -1:
            state.total = 0
            return
        from_image = state.base is None and state.stage.base != "scratch"
        state.total = count_steps(state.stage, state.stage.commands, from_image=from_image)
        if not several:
            state.name = ""

    def _take_context(self, state: StageState, found: State, config: bytes | None, *, replaced: bool) -> None:
        state.state = found
        state.fixed = replaced
        if config is not None:
            state.image = self._read(state, config)
            state.base_image = state.image.encode()
            self._own(state)
        else:
            state.image = Image.empty(state.target)
        if not replaced and not state.implicit:
            read_whole(found)
        if replaced:
            state.stage.commands = []
            state.sources = {}

    # -- lowering

    async def _lower_stage(self, state: StageState) -> None:
        """Count a stage's steps, take over what its base left, and lower its instructions."""
        if state.total == -1 or state.total == 0:
            self._set_total(state, len(self.states) > 1 or self._has_implicit())
        if state.base is not None:
            state.state = state.base.state
            state.image = state.base.image.clone()
            state.base_image = state.base.base_image
            state.env = dict(state.base.env)
            state.args = list(state.base.args)
            if state.platform is None:
                state.platform = state.base.platform
            read_whole(state.state)
        self._take_config(state)
        triggers = await self._onbuild(state)
        for index, command in enumerate(state.stage.commands):
            state.triggered = index < triggers
            self._command(state, index, command)

    def _take_config(self, state: StageState) -> None:
        env = [item.partition("=") for item in state.image.config.get("Env") or []]
        for key, _, value in env:
            state.set_env(key, value)
        if state.base is None and (state.stage.base == "scratch" or state.base_image is None):
            state.state = state.state.platform(state.target)
        folder = state.image.config.get("WorkingDir") or "/"
        state.state = state.state.dir(folder)
        if user := state.image.config.get("User"):
            state.state = state.state.user(user)

    async def _onbuild(self, state: StageState) -> int:
        """Put the triggers of the base before the stage's instructions; return how many there are."""
        triggers = state.image.config.pop("OnBuild", None) or []
        if not triggers or (state.base is not None and state.base.stage.commands and state.base.fixed):
            return 0
        found: list[Instruction] = []
        for text in triggers:
            source = Source("ONBUILD", text, "Dockerfile")
            found += [parse_instruction(node) for node in parse(source).nodes]
        offset = len(found)
        state.sources = {index + offset: items for index, items in state.sources.items()}
        number = self.states.index(state) if state in self.states else 0
        for index, command in enumerate(found):
            if names := _source_names(command):
                state.sources[index] = [self._source(state, number, command, name) for name in names]
        state.stage.commands = [*found, *state.stage.commands]
        state.total += len(triggers)
        sources = [item for items in state.sources.values() for item in items if item is not None]
        images = [item for item in sources if item.implicit and item.state.output is None]
        await _together([self._resolve(item) for item in images])
        for item in images:
            await self._lower_stage(item)
        return offset

    def _command(self, state: StageState, index: int, command: Instruction) -> None:
        sources = state.sources.get(index, [])
        if isinstance(command, Copy):
            source = sources[0] if sources else None
            lower_copy(state, command, source.state if source else self.context, from_context=source is None)
        elif isinstance(command, Command) and command.node.keyword == "run":
            lower_run(state, command, self.context, sources or [None] * len(command.flags.all("mount")))
        else:
            lower_simple(state, command)


def _source_names(command: Instruction) -> list[str]:
    """Return what an instruction names with ``--from`` or ``from=``; "" is the context."""
    if isinstance(command, Copy):
        return [command.flags.get("from")] if command.flags.has("from") else []
    if isinstance(command, Command) and command.flags.has("mount"):
        return [_mount_from(text) for text in command.flags.all("mount")]
    return []


def _mount_from(text: str) -> str:
    for part in text.split(","):
        key, _, value = part.partition("=")
        if key.strip().lower() == "from":
            return value
    return ""


async def _together(work: Sequence[Awaitable[None]]) -> None:
    """Await all; the first failure cancels the others and is raised as it is."""

    async def one(item: Awaitable[None]) -> None:
        await item

    try:
        async with asyncio.TaskGroup() as group:
            for item in work:
                group.create_task(one(item))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
