# SPDX-License-Identifier: Apache-2.0
"""Base images and named contexts of stages, resolved concurrently, each one once."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import partial

from llbkit.frontends.base import ResolveError
from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.facts import BaseResolved, BaseUnresolved
from llbkit.frontends.dockerfile.lower.conversion import COMMAND
from llbkit.frontends.dockerfile.lower.stage import StageState
from llbkit.frontends.dockerfile.lower.stages import Stages
from llbkit.frontends.dockerfile.syntax.words import where
from llbkit.frontends.kit import platforms
from llbkit.frontends.kit.errors.located import ErrorCollector, ProgramError, pointed
from llbkit.frontends.kit.image import Image
from llbkit.frontends.kit.images import SCRATCH, Images, detected
from llbkit.frontends.kit.inputs.contexts import NamedContext
from llbkit.llb import image
from llbkit.llb.address.reference import InvalidReferenceError, Reference
from llbkit.llb.address.reference import parse as parse_reference
from llbkit.llb.builder.state import State
from llbkit.llb.ir.ops import Platform
from llbkit.records import dataclass


async def resolve_bases(
    stages: Stages,
    images: Images,
    reachable: Collection[StageState],
    missing: list[ProgramError] | None = None,
) -> None:
    """Resolve the stages that stand on no other stage; of those that nothing needs only the name is checked.

    With ``missing`` the errors of what cannot be reached are put there, and the stages stand on nothing: so they can be
    looked at, but not built.

    Raises:
        ProgramError: a base is malformed or, if none is, cannot be found; the first one in the file's order.
    """
    pending = [s for s in stages.states if s.base is None and not s.lowered and s not in stages.resolved]
    failures: dict[StageState, ProgramError] = {}

    async def one(state: StageState) -> None:
        try:
            with pointed(partial(where, state.stage.base)):
                await _Base(stages, images, state, state in reachable).resolve()
        except ProgramError as error:
            failures[state] = error.locate(state.place)

    async with asyncio.TaskGroup() as group:
        for state in pending:
            if state in reachable:
                stages.resolved.add(state)
            group.create_task(one(state), name=f"resolve {state.base_name}")
    collector = ErrorCollector(stages.conversion.facts.failed)
    # What is not a reference is known at once, before any answer can come.
    failed = [state for state in pending if state in failures]
    for state in sorted(failed, key=lambda state: failures[state].diagnostics[0].code != errors.REFERENCE):
        cause = failures[state].__cause__
        if missing is not None and isinstance(cause, ResolveError) and cause.unreachable:
            missing.append(failures[state])
            _stand_on_nothing(state, str(cause))
        else:
            collector.keep(failures[state])
    collector.raise_first()


def _stand_on_nothing(state: StageState, cause: str) -> None:
    """Have a stage go on without the image that cannot be reached."""
    state.built.unknown_base = state.base_name
    state.built.state = State()
    state.built.image = Image.empty(state.conversion.target)
    state.platform = state.runs_on
    state.conversion.facts.tell(BaseUnresolved(state.stage, state.base_name, cause))


@dataclass(slots=True)
class _Base:
    stages: Stages
    images: Images
    state: StageState
    reachable: bool

    async def resolve(self) -> None:
        state = self.state
        state.lowered = state.implicit
        if state.context is not None:
            if self.reachable:
                await self._replaced()
        elif state.base_name == SCRATCH:
            state.built.state = State()
            state.built.image = Image.empty(state.conversion.target)
            state.platform = state.conversion.target
        else:
            await self._image()

    async def _replaced(self) -> None:
        """Take a named context in the place of a whole stage."""
        state = self.state
        assert state.context is not None, "asked only for stages with one"
        state.lowered = True
        state.built.state, found = await state.context.loaded(state.built.paths)
        if found is None:
            return
        state.built.image = found.clone()
        state.built.image.created = ""
        if found.platform.architecture and found.platform.os:
            state.platform = platforms.normalize(found.platform)

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
                await self._based_on_context(context, platform)
                return
            ref, platform, empty = await self._resolve(name, ref, platform)
        if empty:
            state.built.state = State()
        else:
            state.built.state = self._state_of(ref, platform)
        state.platform = platform

    async def _based_on_context(self, context: NamedContext, platform: Platform) -> None:
        state = self.state
        # Without a config of its own, it stands for an empty image of the target.
        base = await self.images.replaced(context, platform, state.built.paths, empty=state.conversion.target)
        state.built.base_image, state.built.image, state.built.state = base.found, base.config, base.state
        state.platform = platform

    async def _resolve(
        self, name: str, ref: Reference, platform: Platform
    ) -> tuple[Reference, Platform, bool]:
        """Return the pinned reference, the platform and whether the image is empty."""
        state, conversion = self.state, self.state.conversion
        prefix = f"{platforms.format_all(platform)} " if conversion.options.multi_platform else ""
        answer = await self.images.find(
            name,
            ref,
            platform,
            log_name=f"[{prefix}internal] load metadata for {ref}",
            known=self.stages.names,
        )
        found = answer.config
        state.built.base_image, state.built.image = found, found.clone()
        state.built.image.created = ""
        if state.platform is None and conversion.implicit:
            platform = detected(found.platform, platform, conversion.options.build_platforms)
        conversion.facts.tell(BaseResolved(state.stage, name, platform, found.platform, answer.empty))
        return answer.ref, platform, answer.empty

    def _state_of(self, ref: Reference, platform: Platform) -> State:
        state, conversion = self.state, self.state.conversion
        return image(
            str(ref),
            platform=platform,
            resolve_mode=conversion.options.resolve_mode,
            name=state.names.next(f"FROM {ref}", platform, {}),
            description={COMMAND: state.stage.code},
            at=conversion.at(state.place),
        )
