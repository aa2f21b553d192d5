# SPDX-License-Identifier: Apache-2.0
"""Base images: looked up once, pinned to their digest, replaced by named contexts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import field

from llbkit.frontends.base import Bridge, ResolvedImage, ResolveError
from llbkit.frontends.kit.errors import texts as errors
from llbkit.frontends.kit.errors.located import MOST
from llbkit.frontends.kit.image import Image
from llbkit.frontends.kit.inputs.contexts import Contexts, NamedContext
from llbkit.llb import image
from llbkit.llb.address.reference import InvalidReferenceError, Reference
from llbkit.llb.address.reference import parse as parse_reference
from llbkit.llb.builder.options import At
from llbkit.llb.builder.state import State
from llbkit.llb.ir.ops import Platform
from llbkit.records import dataclass

SCRATCH = "scratch"
_COMMON = ("alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora")


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image as it was found: its reference with its digest, and its config."""

    ref: Reference
    config: Image

    @property
    def empty(self) -> bool:
        """Whether it has no layers: then nothing of it is loaded."""
        return not self.config.diff_ids and all(entry.empty_layer for entry in self.config.history)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    """What a target stands on. ``config`` is its own to change; ``found`` is the config as it was found, if there is one.

    ``platform`` is the one asked for; or what the image is for, if that was left open.
    """

    state: State
    platform: Platform
    config: Image
    found: Image | None = None


@dataclass(slots=True)
class Images:
    """Answers about images, each asked for once; shared by all platforms of a build."""

    bridge: Bridge
    contexts: Contexts
    _missing: int = 0
    _answers: dict[tuple[str, Platform], ResolvedImage | ResolveError] = field(default_factory=dict)
    _locks: dict[tuple[str, Platform], asyncio.Lock] = field(default_factory=dict)

    async def find(
        self, name: str, ref: Reference, platform: Platform, *, log_name: str, known: Iterable[str] = ()
    ) -> FoundImage:
        """Return what is known about an image, ``name`` as it is written; ``known`` are names it may be misspelt from.

        Raises:
            ProgramError: it cannot be found, or its config is damaged.
        """
        try:
            answer = await self._resolve(str(ref), platform, log_name)
        except ResolveError as error:
            self._missing += 1
            names = [*known, *_common_names()] if self._missing <= MOST else []
            raise errors.not_found(name, str(error), names, error.help) from error
        try:
            config = Image.read(answer.config)
        except ValueError as error:
            raise errors.image_config(str(error)) from None
        pinned = parse_reference(answer.ref)
        return FoundImage(pinned.with_digest(answer.digest) if answer.digest else pinned, config)

    async def _resolve(self, ref: str, platform: Platform, log_name: str) -> ResolvedImage:
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

    async def base(
        self,
        name: str,
        platform: Platform,
        *,
        paths: set[str],
        implicit: bool = False,
        known: Iterable[str] = (),
        at: Sequence[At] = (),
    ) -> BaseImage:
        """Return the image, the named context or the empty image (``scratch``) that a name stands for.

        Args:
            name: As it is written.
            platform: The image's.
            implicit: Whether nobody asked for that platform; then it is the found image's, if a worker runs it.
            paths: Fills up with what is read of a context that is a directory.
            known: Names that it may be misspelt from.
            at: Where it is written.

        Raises:
            ProgramError: it is malformed, cannot be found, or its config is damaged.
        """
        if name == SCRATCH:
            return BaseImage(state=State(), platform=platform, config=Image.empty(platform))
        try:
            ref = parse_reference(name).with_default_tag()
        except InvalidReferenceError as error:
            raise errors.image_name(name, error.standard, error.help) from None
        if (context := self.contexts.named(str(ref), platform)) is not None:
            return await self.replaced(context, platform, paths)
        log_name = f"[internal] load metadata for {ref}"
        found = await self.find(name, ref, platform, log_name=log_name, known=known)
        if implicit:
            platform = detected(found.config.platform, platform, self.contexts.options.build_platforms)
        state = (
            State()
            if found.empty
            else image(
                str(found.ref),
                platform=platform,
                resolve_mode=self.contexts.options.resolve_mode,
                name=f"FROM {found.ref}",
                at=at,
            )
        )
        return BaseImage(state=state, platform=platform, config=_begun(found.config), found=found.config)

    async def replaced(
        self, context: NamedContext, platform: Platform, paths: set[str], *, empty: Platform | None = None
    ) -> BaseImage:
        """Return a named context as the base of a platform; ``empty`` is that of a context without a config, if another.

        Raises:
            ProgramError: it is malformed, or cannot be found.
        """
        state, config = await context.loaded(paths)
        found = config if config is not None else Image.empty(empty or platform)
        return BaseImage(state=state.platform(platform), platform=platform, config=_begun(found), found=found)


def _begun(found: Image) -> Image:
    """Return a config that goes on from another."""
    config = found.clone()
    config.created = ""
    return config


def _common_names() -> list[str]:
    return [name for repo in _COMMON for name in (repo, f"{repo}:latest")]


def detected(found: Platform, wanted: Platform, built: Sequence[Platform]) -> Platform:
    """Return the platform of an image where none was asked for: the image's own, if the worker runs it."""
    for known in (wanted, *built):
        if (known.os, known.architecture) == (found.os, found.architecture):
            return known
    return wanted
