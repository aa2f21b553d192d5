# SPDX-License-Identifier: Apache-2.0
"""Base images and named contexts of stages, resolved concurrently, each one once."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import field
from functools import partial

from llbkit.frontends.base import Bridge, ResolvedImage, ResolveError
from llbkit.frontends.dockerfile.check.rules import invalid_base_image_platform
from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.lower.stage import COMMAND, SCRATCH, StageState
from llbkit.frontends.dockerfile.lower.stages import Stages
from llbkit.frontends.dockerfile.syntax.words import where
from llbkit.frontends.kit import platforms
from llbkit.frontends.kit.errors import texts as common
from llbkit.frontends.kit.errors.located import MOST, ErrorCollector, ProgramError, pointed
from llbkit.frontends.kit.image import Image
from llbkit.frontends.kit.inputs.contexts import Contexts
from llbkit.llb import image
from llbkit.llb.address.reference import InvalidReferenceError, Reference
from llbkit.llb.address.reference import parse as parse_reference
from llbkit.llb.builder.state import State
from llbkit.llb.ir.ops import Platform
from llbkit.records import dataclass

_COMMON = ("alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora")


def _common_names() -> list[str]:
    return [name for repo in _COMMON for name in (repo, f"{repo}:latest")]


@dataclass(slots=True)
class Images:
    """Answers about images, each asked for once; shared by all platforms of a build."""

    bridge: Bridge
    contexts: Contexts
    missing: int = 0
    _answers: dict[tuple[str, Platform], ResolvedImage | ResolveError] = field(default_factory=dict)
    _locks: dict[tuple[str, Platform], asyncio.Lock] = field(default_factory=dict)

    async def resolve(self, ref: str, platform: Platform, log_name: str) -> ResolvedImage:
        """Return what is known about an image. Raises ResolveError."""
        key = (ref, platform)
        async with self._locks.setdefault(key, asyncio.Lock()):
            if key not in self._answers:
                try:
                    self._answers[key] = await self.bridge.resolve_image(
                        ref,
                        platform=platform,
                        mode=self.contexts.options.resolve_mode,
                        log_name=log_name,
                    )
                except ResolveError as error:
                    self._answers[key] = error
        answer = self._answers[key]
        if isinstance(answer, ResolveError):
            raise answer
        return answer


async def resolve_bases(stages: Stages, images: Images, reachable: Collection[StageState]) -> None:
    """Resolve the stages that stand on no other stage; of those that nothing needs only the name is checked.

    Raises:
        ProgramError: a base is malformed or, if none is, cannot be found; the first one in the file's order.
    """
    pending = [s for s in stages.states if s.base is None and not s.lowered and not s.resolved]
    failures: dict[StageState, ProgramError] = {}

    async def one(state: StageState) -> None:
        try:
            with pointed(partial(where, state.stage.base)):
                await _Base(stages, images, state, state in reachable).resolve()
        except ProgramError as error:
            failures[state] = error.locate(state.place)

    async with asyncio.TaskGroup() as group:
        for state in pending:
            state.resolved = state in reachable
            group.create_task(one(state), name=f"resolve {state.base_name}")
    collector = ErrorCollector(stages.conversion.lint.findings.mute)
    # What is not a reference is known at once, before any answer can come.
    failed = [state for state in pending if state in failures]
    for state in sorted(failed, key=lambda state: failures[state].diagnostics[0].code != errors.REFERENCE):
        collector.keep(failures[state])
    collector.raise_first()


@dataclass(slots=True)
class _Base:
    stages: Stages
    images: Images
    state: StageState
    reachable: bool

    async def resolve(self) -> None:
        state = self.state
        if state.context is not None:
            if self.reachable:
                await self._replaced()
        elif state.base_name == SCRATCH:
            state.state = State()
            state.image = Image.empty(state.conversion.target)
            state.platform = state.conversion.target
        else:
            await self._image()
        if state.implicit:
            state.lowered = True

    async def _replaced(self) -> None:
        """Take a named context in the place of a whole stage."""
        state = self.state
        assert state.context is not None, "asked only for stages with one"
        state.state, found = await self._load(state)
        state.lowered = True
        if found is None:
            return
        state.image = found.clone()
        state.image.created = ""
        if found.platform.architecture and found.platform.os:
            state.platform = platforms.normalize(found.platform)

    async def _load(self, state: StageState) -> tuple[State, Image | None]:
        assert state.context is not None, "asked only for stages with one"
        try:
            return await state.context.load(state.paths)
        except ResolveError as error:
            raise common.context(str(error), _help_of(error)) from error

    async def _image(self) -> None:
        state = self.state
        name = state.base_name
        try:
            ref = parse_reference(name).with_default_tag()
        except InvalidReferenceError as error:
            raise errors.reference(name, error.standard, error.help) from None
        state.base_name = str(ref)
        platform = state.runs_on
        empty = False
        if self.reachable:
            context = self.stages.contexts.named(str(ref), platform)
            if context is not None:
                state.context = context
                await self._based_on_context(platform)
                return
            ref, platform, empty = await self._resolve(name, ref, platform)
        if empty:
            state.state = State()
        else:
            state.state = self._state_of(ref, platform)
        state.platform = platform

    async def _based_on_context(self, platform: Platform) -> None:
        state = self.state
        found, config = await self._load(state)
        state.base_image = config if config is not None else Image.empty(state.conversion.target)
        state.image = state.base_image.clone()
        state.image.created = ""
        state.state = found.platform(platform)
        state.platform = platform

    async def _resolve(
        self, name: str, ref: Reference, platform: Platform
    ) -> tuple[Reference, Platform, bool]:
        """Return the pinned reference, the platform and whether the image is empty."""
        state, conversion = self.state, self.state.conversion
        prefix = f"{platforms.format_all(platform)} " if conversion.options.multi_platform else ""
        try:
            answer = await self.images.resolve(
                str(ref), platform, f"[{prefix}internal] load metadata for {ref}"
            )
        except ResolveError as error:
            self.images.missing += 1
            known = [*self.stages.names, *_common_names()] if self.images.missing <= MOST else []
            raise common.not_found(name, str(error), known, _help_of(error)) from error
        try:
            found = Image.read(answer.config)
        except ValueError as error:
            raise common.image_config(str(error)) from None
        state.base_image, state.image = found, found.clone()
        state.image.created = ""
        if state.platform is None and conversion.implicit:
            platform = _detected(found.platform, platform, conversion.options.build_platforms)
        pinned = parse_reference(answer.ref)
        if answer.digest:
            pinned = pinned.with_digest(answer.digest)
        empty = not found.diff_ids and all(entry.empty_layer for entry in found.history)
        if not empty:
            lint = conversion.lint.with_comments(state.stage.comments)
            invalid_base_image_platform.check(lint, name, platform, found.platform, state.place)
        return pinned, platform, empty

    def _state_of(self, ref: Reference, platform: Platform) -> State:
        state, conversion = self.state, self.state.conversion
        return image(
            str(ref),
            platform=platform,
            resolve_mode=conversion.options.resolve_mode,
            name=state.numbered(f"FROM {ref}", platform, {}),
            description={COMMAND: state.stage.code},
            at=conversion.at(state.place),
        )


def _help_of(error: ResolveError) -> str:
    return str(getattr(error, "help", ""))


def _detected(found: Platform, wanted: Platform, built: Sequence[Platform]) -> Platform:
    """Return the platform of an image where none was asked for: the image's own, if the worker runs it."""
    for known in (wanted, *built):
        if (known.os, known.architecture) == (found.os, found.architecture):
            return known
    return wanted
